// Curves, as SVG: small ones for rows of a table, and larger ones with a scale.

import { h, setAttribute, setText, svg } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 60;
/** Seconds between two points from which the curve is broken: nobody looked. */
const GAP_SECONDS = 15;

/** Minutes that a curve may show: as few as there were looks for. */
const SPANS = [1, 2, 5, 10];
/** Those that a small one may show. */
const SMALL_SPANS = [1, 2, 5];

function secondsFor(points, spans) {
    const seen = points.length > 0 ? points.at(-1).at - points[0].at : 0;
    return 60 * (spans.find((span) => seen <= span * 60) ?? spans.at(-1));
}

/** Smallest round number of its scale, binary or decimal, that is not below `number`. */
function roundUp(number, binary) {
    if (!(number > 0)) return 0;
    const base = binary ? 2 : 10;
    const step = base ** Math.floor(Math.log(number) / Math.log(base));
    return (binary ? [1, 1.5, 2] : [1, 2, 5, 10])
        .map((times) => times * step)
        .find((round) => round >= number * 0.9999);
}

/** The way of a line through points, with a move over each gap. */
function way(points, value, start, seconds, top) {
    let text = "";
    let before = null;
    for (const point of points) {
        const height = value(point);
        if (typeof height !== "number") continue;
        const x = ((point.at - start) / seconds) * WIDTH;
        const y = HEIGHT - (top > 0 ? Math.min(1, height / top) * (HEIGHT - 2) : 0) - 1;
        const follows = before !== null && point.at - before <= GAP_SECONDS;
        // A line of no length is a dot: a point without neighbours is seen too.
        text += `${follows ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}${follows ? "" : "h0"}`;
        before = point.at;
    }
    return text;
}

const highest = (points, series) =>
    points.reduce((top, point) => series.reduce((most, { key }) => Math.max(most, point[key] ?? 0), top), 0);

function canvas(series, extra) {
    const lines = series.map(({ kind }) =>
        svg("path", { class: `line ${kind}`, "vector-effect": "non-scaling-stroke" }),
    );
    const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true", ...extra };
    return { whole: svg("svg", box, ...lines), lines };
}

/** A curve without words, for a row whose numbers stand beside it. */
export class Sparkline {
    constructor(series) {
        this.series = series;
        const { whole, lines } = canvas(series, { class: "spark" });
        this.element = whole;
        this.lines = lines;
    }

    show(points) {
        const end = points.at(-1)?.at ?? 0;
        const seconds = secondsFor(points, SMALL_SPANS);
        const seen = points.filter(({ at }) => at >= end - seconds);
        const top = highest(seen, this.series);
        for (const [at, { key }] of this.series.entries()) {
            setAttribute(
                this.lines[at],
                "d",
                way(seen, (point) => point[key], end - seconds, seconds, top),
            );
        }
    }
}

/** Curves with a title, a scale, and a legend that tells the latest values. */
export class Chart {
    /** `series` are `{ key, kind, title }`; `format` makes a value a text. */
    constructor(title, series, format, { binary = false } = {}) {
        Object.assign(this, { title, series, format, binary });
        const { whole, lines } = canvas(series, { class: "curves" });
        this.lines = lines;
        this.top = h("span", { class: "scale top" });
        this.half = h("span", { class: "scale half" });
        this.now = series.map(() => h("b"));
        const legend = series.map(({ kind, title: name }, at) =>
            h("li", {}, h("i", { class: `key ${kind}` }), `${name} `, this.now[at]),
        );
        this.since = h("span");
        this.element = h(
            "figure",
            { class: "chart" },
            h("figcaption", {}, h("h3", {}, title), h("ul", { class: "legend" }, ...legend)),
            h("div", { class: "plot", "aria-hidden": "true" }, this.top, this.half, whole),
            h("div", { class: "axis", "aria-hidden": "true" }, this.since, h("span", {}, "now")),
        );
    }

    /** Shows the points, and `latest`, the values to be told, by key. */
    show(points, latest) {
        const end = points.at(-1)?.at ?? 0;
        const seconds = secondsFor(points, SPANS);
        const seen = points.filter(({ at }) => at >= end - seconds);
        const top = roundUp(highest(seen, this.series), this.binary);
        setText(this.top, top > 0 ? this.format(top) : "");
        setText(this.half, top > 0 ? this.format(top / 2) : "");
        setText(this.since, `${Math.round(seconds / 60)} min ago`);
        for (const [at, { key }] of this.series.entries()) {
            setAttribute(
                this.lines[at],
                "d",
                way(seen, (point) => point[key], end - seconds, seconds, top),
            );
            setText(this.now[at], latest[key]);
        }
    }
}
