"""The chart: rate and CPU relative to the baseline, a group of bars for each row, as an SVG written by hand.

Ratios lie on a logarithmic axis, so that half and twice are equally far from 1.
"""

import math
from html import escape

from workloads import TARGETS

SERVERS = ("nbdgate", "nbdgate-epoll", "qemu-nbd", "nbd-server")
# What they show, of which number, beside which bar, over which powers of two.
PANELS = (("Rate (more is better)", "rate_ratio", "rate", -3, 4),
          ("CPU per request (less is better)", "cpu_ratio", "cpu", -4, 3))

LABELS, PANEL, GAP, MARGIN = 320, 370, 90, 20
THICKNESS, SPACE, TITLE, HEAD = 7, 9, 30, 76
WIDTH = LABELS + 2 * PANEL + GAP + 2 * MARGIN

STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.head { font-weight: 600; font-size: 14px } .small { font-size: 10px; fill: #59636e }
.tiny { font-size: 8px; fill: #59636e }
.axis { stroke: #d1d9e0; stroke-width: 1 } .one { stroke: #59636e; stroke-width: 1.5 }
.bar { stroke: #cf222e; stroke-width: 2.5 } .ground { fill: #ffffff }
.s0 { fill: #0a5fd8 } .s1 { fill: #79b4ff } .s2 { fill: #e08a00 } .s3 { fill: #8c959f }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .small, .tiny { fill: #9198a1 } .ground { fill: #0d1117 }
.axis { stroke: #30363d } .one { stroke: #9198a1 } .bar { stroke: #ff7b72 }
.s0 { fill: #4493f8 } .s1 { fill: #9dc7ff } .s2 { fill: #f0a840 } .s3 { fill: #8b949e }
}"""


class Axis:
    """A logarithmic axis over some powers of two; what lies beyond is drawn at its end."""

    def __init__(self, left, low, high):
        self.left, self.low, self.high = left, low, high

    def at(self, value):
        """Where a ratio is."""
        power = min(max(math.log2(value), self.low), self.high)
        return self.left + PANEL * (power - self.low) / (self.high - self.low)

    def is_beyond(self, value):
        """Whether a ratio is drawn shorter than it is."""
        return not 2 ** self.low <= value <= 2 ** self.high

    def grid(self, top, bottom):
        """Its lines and their numbers."""
        found = []
        for power in range(self.low, self.high + 1):
            x = self.at(2 ** power)
            label = f"{2 ** power}×" if power >= 0 else f"1/{2 ** -power}"
            found += [line(x, top, x, bottom, "one" if power == 0 else "axis"),
                      text(x, top - 6, label, "small", "middle")]
        return found


def text(x, y, what, style="label", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(what)}</text>'


def line(x1, y1, x2, y2, style):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def rectangle(x, y, width, height, style, tip=""):
    inside = f"<title>{escape(tip)}</title>" if tip else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{style}">{inside}</rect>'


def shown(summary):
    """The servers of a row that the chart has bars for, each with the number of its colour."""
    return [(index, name, summary[name]) for index, name in enumerate(SERVERS) if name in summary]


def height(summary):
    """What the bars of a row take, and at least what its name does."""
    return THICKNESS * max(2, len(shown(summary)))


def layout(results):
    """Where each row begins, titles of targets between them; and where all ends."""
    places, y, target = [], HEAD, None
    for row, summary in results:
        if row.target != target:
            target = row.target
            places.append((y, TARGETS[target], None))
            y += TITLE
        places.append((y, row, summary))
        y += height(summary) + SPACE
    return places, y


def bars(axis, y, row, summary, key, bar):
    """A row's bars in one panel, and the mark that nbdgate shall reach."""
    found = []
    for place, (index, name, numbers) in enumerate(shown(summary)):
        value = numbers[key]
        if not value:
            continue
        start, end = sorted((axis.at(1), axis.at(value)))
        tip = f"{row.name}: {name} {value:.2f}"
        top = y + place * THICKNESS
        found.append(rectangle(start, top, max(end - start, 1), THICKNESS - 1, f"s{index}", tip))
        if axis.is_beyond(value):
            x, anchor = (start - 4, "end") if value < 1 else (end + 4, "start")
            number = f"{value:.3f}×" if value < 1 else f"{value:.0f}×"
            found.append(text(x, top + THICKNESS - 1, number, "tiny", anchor))
    if row.bar:
        x = axis.at(getattr(row.bar, bar))
        found.append(line(x, y - 2, x, y + height(summary) + 1, "bar"))
    return found


def legend():
    """Colours and marks."""
    found, x = [], MARGIN
    for index, name in enumerate(SERVERS):
        found += [rectangle(x, 14, 12, 12, f"s{index}"), text(x + 17, 24, name)]
        x += 40 + 7.5 * len(name)
    return [*found, line(x + 6, 12, x + 6, 28, "bar"), text(x + 15, 24, "what nbdgate shall reach"),
            line(x + 206, 12, x + 206, 28, "one"),
            text(x + 215, 24, "the baseline: nbdkit, where nothing else is said")]


def svg(results):
    """The whole picture."""
    places, bottom = layout(results)
    drawn = [rectangle(0, 0, WIDTH, bottom + MARGIN, "ground"), *legend()]
    for number, (title, key, bar, low, high) in enumerate(PANELS):
        left = MARGIN + LABELS + number * (PANEL + GAP)
        axis = Axis(left, low, high)
        drawn += [text(left + PANEL / 2, HEAD - 26, title, "label", "middle"), *axis.grid(HEAD - 6, bottom)]
        for y, row, summary in places:
            drawn += bars(axis, y, row, summary, key, bar) if summary is not None else []
    for y, what, summary in places:
        if summary is None:
            other = "" if what.baseline == "nbdkit" else f" (baseline {what.baseline})"
            drawn.append(text(MARGIN, y + TITLE - 12, what.title + other, "head"))
        else:
            drawn.append(text(MARGIN + LABELS - 12, y + height(summary) / 2 + 4, what.name, "label", "end"))
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + MARGIN:.0f}" role="img" '
            'aria-label="Rate and CPU per request relative to nbdkit">')
    return "\n".join([head, f"<style>\n{STYLE}\n</style>", *drawn, "</svg>", ""])
