// A map of many cells, each with a share from none to all of it: what is allocated, what of a segment is live. It is
// drawn, so a line below tells the cell under the pointer or, with the arrow keys, under the cursor.

import { h, setAttribute, setText } from "./dom.js";

/** Shades beside that of an empty cell. */
const SHADES = 4;
const GAP = 1;
const LARGEST_CELL = 22;

/** 0 for nothing at all, 4 for more than three quarters. */
export const shadeOf = (share) => (share > 0 ? Math.min(SHADES, Math.ceil(share * SHADES)) : 0);

/** Columns for `count` cells in `width` pixels: powers of two, so that rows are round sizes. */
export function columnsFor(count, width) {
    const fits = width >= 560 ? 64 : 32;
    return Math.max(1, Math.min(fits, count));
}

export class CellMap {
    #cells = [];
    #chosen = null;
    #layout = null;

    /** `kind` names the shades; `words` are those of its legend, for none, for all, and for a mark if there is one. */
    constructor(kind, title, words) {
        this.kind = kind;
        this.canvas = h("canvas", { role: "img", tabindex: "0", class: "cells" });
        this.told = h("output", { class: "told" });
        this.summary = h("p", { class: "note" });
        const shades = Array.from({ length: SHADES + 1 }, (_, shade) => h("i", { class: `shade ${kind}-${shade}` }));
        const mark = words.mark ? h("span", {}, h("i", { class: "shade mark" }), words.mark) : null;
        this.element = h(
            "figure",
            { class: "map" },
            h("figcaption", {}, h("h4", {}, title), this.summary),
            this.canvas,
            h(
                "div",
                { class: "legend shades", "aria-hidden": "true" },
                h("span", {}, words.none, ...shades, words.all),
                mark,
            ),
            this.told,
        );
        this.idle = words.idle;
        setText(this.told, this.idle);
        this.canvas.addEventListener("pointermove", (event) => this.#choose(this.#at(event)));
        this.canvas.addEventListener("pointerdown", (event) => this.#choose(this.#at(event)));
        this.canvas.addEventListener("pointerleave", () => this.#choose(null));
        this.canvas.addEventListener("blur", () => this.#choose(null));
        this.canvas.addEventListener("keydown", (event) => this.#key(event));
        new ResizeObserver(() => this.draw()).observe(this.element);
        matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    }

    /** Shows cells, `{ share, marked, tell() }`, and a sentence about all of them. */
    show(cells, summary) {
        this.#cells = cells;
        if (this.#chosen !== null && this.#chosen >= cells.length) this.#chosen = null;
        setText(this.summary, summary);
        setAttribute(this.canvas, "aria-label", `${summary} Arrow keys go through the cells.`);
        this.draw();
        this.#tell();
    }

    draw() {
        const width = Math.floor(this.element.clientWidth);
        if (width === 0 || this.#cells.length === 0) return;
        const columns = columnsFor(this.#cells.length, width);
        const size = Math.max(3, Math.min(LARGEST_CELL, Math.floor(width / columns)));
        const rows = Math.ceil(this.#cells.length / columns);
        this.#layout = { columns, size };
        const sharp = window.devicePixelRatio || 1;
        this.canvas.width = columns * size * sharp;
        this.canvas.height = rows * size * sharp;
        this.canvas.style.width = `${columns * size}px`;
        this.canvas.style.height = `${rows * size}px`;
        const pen = this.canvas.getContext("2d");
        pen.scale(sharp, sharp);
        const style = getComputedStyle(this.canvas);
        const colours = Array.from({ length: SHADES + 1 }, (_, shade) =>
            style.getPropertyValue(`--${this.kind}-${shade}`),
        );
        const mark = style.getPropertyValue("--mark");
        for (const [at, { share, marked }] of this.#cells.entries()) {
            const x = (at % columns) * size;
            const y = Math.floor(at / columns) * size;
            pen.fillStyle = colours[shadeOf(share)];
            pen.fillRect(x, y, size - GAP, size - GAP);
            if (marked) {
                pen.fillStyle = mark;
                pen.fillRect(x, y + size - GAP - Math.max(2, size / 5), size - GAP, Math.max(2, size / 5));
            }
        }
        if (this.#chosen !== null) {
            pen.strokeStyle = style.getPropertyValue("--text");
            pen.lineWidth = 2;
            pen.strokeRect(
                (this.#chosen % columns) * size,
                Math.floor(this.#chosen / columns) * size,
                size - GAP,
                size - GAP,
            );
        }
    }

    #at(event) {
        if (!this.#layout) return null;
        const { columns, size } = this.#layout;
        const column = Math.floor(event.offsetX / size);
        const at = Math.floor(event.offsetY / size) * columns + column;
        return column >= 0 && column < columns && at >= 0 && at < this.#cells.length ? at : null;
    }

    #key(event) {
        const steps = {
            ArrowLeft: -1,
            ArrowRight: 1,
            ArrowUp: -this.#layout?.columns,
            ArrowDown: this.#layout?.columns,
        };
        const ends = { Home: 0, End: this.#cells.length - 1, Escape: null };
        if (!this.#layout || !(event.key in steps || event.key in ends)) return;
        event.preventDefault();
        if (event.key in ends) return this.#choose(ends[event.key]);
        const next = this.#chosen === null ? 0 : this.#chosen + steps[event.key];
        if (next >= 0 && next < this.#cells.length) this.#choose(next);
    }

    #choose(at) {
        if (at === this.#chosen) return;
        this.#chosen = at;
        this.draw();
        this.#tell();
    }

    #tell() {
        setText(this.told, this.#chosen === null ? this.idle : this.#cells[this.#chosen].tell());
    }
}
