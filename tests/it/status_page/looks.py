"""What holds for every picture of the page: nothing is cut off, everything can be read, nobody else was asked."""

# The contrast of every text with what is behind it, those below what WCAG asks for (AA).
CONTRAST = """
const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
function behind(element) {
    for (let at = element; at; at = at.parentElement) {
        const colour = parse(getComputedStyle(at).backgroundColor);
        if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
}
const found = [];
for (const element of document.body.querySelectorAll("*")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
    if (!text || !element.checkVisibility() || element.closest(".hidden, .skip, noscript")) continue;
    const [one, other] = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < 4.5) found.push(`${text.slice(0, 30)}: ${contrast.toFixed(2)}`);
}
return found;
"""

# Elements that stick out of the page, and what it is wider than the screen by.
OVERFLOW = """
const wide = [...document.body.querySelectorAll("*")].filter((element) => {
    const box = element.getBoundingClientRect();
    return element.checkVisibility() && !element.closest(".hidden, .skip") && box.width > 0 && box.right > innerWidth + 0.5;
});
const more = document.documentElement.scrollWidth - innerWidth;
return wide.slice(0, 5).map((element) => `${element.tagName}.${element.className}: ${element.textContent.slice(0, 40)}`)
    .concat(more > 0 ? [`the page is ${more} pixels wider than the screen`] : []);
"""

# Controls and pictures without a name for who does not see them, headings that skip a level.
NAMELESS = """
const nameless = [...document.body.querySelectorAll("a, button, input, canvas, [role=meter]")].filter((element) =>
    element.checkVisibility() && !(element.computedName ?? element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent).trim()
        && !element.getAttribute("aria-label") && !element.textContent.trim());
const levels = [...document.body.querySelectorAll("h1, h2, h3, h4")].filter((element) => element.checkVisibility()).map((element) => Number(element.tagName[1]));
return nameless.map((element) => element.outerHTML.slice(0, 80))
    .concat(levels.filter((level, at) => at > 0 && level > levels[at - 1] + 1).map((level) => `a heading of level ${level} too deep`));
"""

SCREENS = {
    "light": {"width": 1280, "height": 900},
    "dark": {"width": 1280, "height": 900, "dark": True},
    "phone": {"width": 360, "height": 740, "touch": True},
    "phone-dark": {"width": 360, "height": 740, "dark": True, "touch": True},
    "narrow": {"width": 1001, "height": 700},
}


def from_all_sides(browser, folder, name, screens=SCREENS):
    """Looks at the page on every screen, in both themes; keeps a picture of each."""
    backs = {}
    for screen, settings in screens.items():
        browser.screen(**settings)
        shown = f"{name} on the {screen} screen"
        backs[screen] = browser.run("return getComputedStyle(document.body).backgroundColor")
        browser.picture(f"{folder}/{name}-{screen}.png")
        assert browser.run(OVERFLOW) == [], f"{shown} is cut off: {browser.run(OVERFLOW)}"
        assert browser.run(CONTRAST) == [], f"{shown} is hard to read: {browser.run(CONTRAST)}"
        assert browser.run(NAMELESS) == [], f"{shown}: {browser.run(NAMELESS)}"
    assert backs.get("light") != backs.get("dark") or len(backs) == 1, f"both themes are {backs}"
    browser.screen(**SCREENS["light"])


def nothing_else_asked(browser, forwarder):
    """No error was logged, and every request went to the page's own host."""
    errors = browser.console()
    assert errors == [], f"the console tells: {errors}"
    foreign = [url for url in browser.requests() if not url.startswith((forwarder.url + "/", "data:", "about:"))]
    assert foreign == [], f"the page asked others: {foreign}"
