// The gateway as a whole: what it moves, what needs a look, and one row for each export.

import { describe, find, h, keyed, part, placeOf, setAttribute, setName, setText } from "./dom.js";
import { bytes, bytesPerSecond, count, events, visible } from "./format.js";
import { troublesOf } from "./attention.js";
import { Chart } from "./chart.js";
import { COLUMNS, figuresOf, newRow, showRow } from "./row.js";

/** Rows at one time; the filter finds the others. */
const MAX_ROWS = 200;
/** Exports whose troubles are told at one time. */
const MAX_TROUBLED = 8;
/** Exports from which there is a filter. */
const FILTER_FROM = 9;
const allRequests = (figures) =>
    figures.reduce((all, { requests }) => (requests === null ? all : (all ?? 0) + requests), null);

/** What the order by a column compares; the largest first, but for names. */
const ORDERS = {
    export: ({ exported }) => exported.name,
    state: ({ troubles }) => (troubles.length ? (troubles[0].level === "bad" ? 2 : 1) : 0),
    read: ({ read }) => read.bytes ?? -1,
    write: ({ write }) => write.bytes ?? -1,
    requests: ({ requests }) => requests ?? -1,
    flush: ({ flush }) => flush.p99?.above ?? flush.p99 ?? -1,
    waiting: ({ exported }) => exported.in_flight,
    clients: ({ exported }) => exported.connections,
    lag: ({ exported }) => exported.object?.commit_lag_seconds ?? -1,
};

/** The overview, made once and shown again with each answer. */
export class Overview {
    #by = null;
    #last = null;

    constructor() {
        const title = (key, text) => {
            if (!key) return h("th", { role: "columnheader", scope: "col" }, text);
            const button = h("button", { type: "button" }, text);
            button.addEventListener("click", () => this.#order(key));
            const hint = ["read", "write"].includes(key) ? h("small", {}, " p50 · p99") : null;
            return h("th", { role: "columnheader", scope: "col", "data-key": key }, button, hint);
        };
        this.heads = COLUMNS.map(([key, text]) => title(key, text));
        this.body = part("tbody");
        const caption = h("caption", { class: "hidden" }, "Exports, with what they do");
        find("exports").append(
            part("table", { class: "exports" }, caption, part("thead", {}, part("tr", {}, ...this.heads)), this.body),
        );
        this.throughput = new Chart(
            "Throughput",
            [
                { key: "read", kind: "read", title: "read" },
                { key: "write", kind: "write", title: "write" },
            ],
            bytesPerSecond,
            { binary: true },
        );
        this.rate = new Chart("Requests", [{ key: "requests", kind: "requests", title: "all" }], events);
        this.facts = h("dl", { class: "totals" });
        find("summary").append(this.throughput.element, this.rate.element, this.facts);
        this.troubles = h("ul");
        this.calm = h("p");
        find("attention").append(this.troubles, this.calm);
        find("filter").addEventListener("input", () => this.#last && this.#rows());
    }

    /** Shows an answer; returns how many exports need a look. */
    show(status, history) {
        const items = status.exports.map((exported) => {
            const track = history.of(exported.name);
            const figures = Object.keys(exported.commands).map((name) => figuresOf(track, name));
            const [read, write, flush] = ["read", "write", "flush"].map((name) => figuresOf(track, name));
            return {
                exported,
                track,
                troubles: troublesOf(exported, track),
                read,
                write,
                flush,
                requests: allRequests(figures),
            };
        });
        this.#last = items;
        const total = (value) =>
            items.reduce((all, item) => (value(item) === null ? all : (all ?? 0) + value(item)), null);
        const now = {
            read: total(({ read }) => read.bytes),
            write: total(({ write }) => write.bytes),
            requests: total(({ requests }) => requests),
        };
        this.throughput.show(history.totals, { read: bytesPerSecond(now.read), write: bytesPerSecond(now.write) });
        this.rate.show(history.totals, { requests: events(now.requests) });
        const waiting = total(({ exported }) => exported.in_flight);
        const dirty = total(
            ({ exported }) => exported.object?.journal?.lag_bytes ?? exported.object?.dirty_bytes ?? null,
        );
        describe(this.facts, [
            ["exports", count(items.length), items.length],
            ["clients", count(status.gateway.connections), status.gateway.connections],
            ["in flight", count(waiting ?? 0), waiting ?? 0],
            ["not in bucket", bytes(dirty), dirty],
        ]);
        const troubled = items.filter(({ troubles }) => troubles.length > 0);
        this.#attention(troubled, status);
        this.#rows();
        return troubled.length;
    }

    #attention(troubled, { gateway, exports }) {
        const worst = [...troubled].sort((a, b) => ORDERS.state(b) - ORDERS.state(a));
        const shown = worst.slice(0, MAX_TROUBLED);
        const more = worst.length - shown.length;
        const none = gateway.state === "starting" ? "Exports are being opened." : "This gateway serves no export.";
        const calm = exports.length ? "Nothing needs a look." : none;
        setText(
            this.calm,
            more > 0 ? `and ${count(more)} more: order the exports by their state` : worst.length ? "" : calm,
        );
        // Said only when other exports are concerned; what is told of them may change with every look.
        const concerned = shown.map(({ exported }) => visible(exported.name) || "the default export").join(", ");
        setText(find("spoken"), concerned ? `Needs a look: ${concerned}` : "");
        this.calm.hidden = this.calm.textContent === "";
        keyed(
            this.troubles,
            shown,
            ({ exported }) => exported.name,
            newTrouble,
            (item, { exported, troubles }) => {
                setAttribute(item, "class", troubles[0].level);
                setName(item.shown.link, exported.name);
                setText(item.shown.text, troubles.map(({ text }) => text).join("; "));
            },
        );
    }

    #order(key) {
        this.#by = this.#by?.key === key ? { key, up: !this.#by.up } : { key, up: key === "export" };
        for (const head of this.heads) {
            const sorted = head.dataset.key === key ? (this.#by.up ? "ascending" : "descending") : null;
            setAttribute(head, "aria-sort", sorted);
        }
        if (this.#last) this.#rows();
    }

    #rows() {
        const items = this.#last;
        find("filter-box").hidden = items.length < FILTER_FROM;
        const wanted = items.length < FILTER_FROM ? "" : find("filter").value.trim().toLowerCase();
        const found = items.filter(({ exported: { name, description } }) =>
            `${name}\n${description ?? ""}`.toLowerCase().includes(wanted),
        );
        if (this.#by) {
            const value = ORDERS[this.#by.key];
            const way = this.#by.up ? 1 : -1;
            found.sort((a, b) => (value(a) < value(b) ? -way : value(a) > value(b) ? way : 0));
        }
        const shown = found.slice(0, MAX_ROWS);
        const parts = [];
        if (wanted) parts.push(`${count(found.length)} of ${count(items.length)}`);
        if (shown.length < found.length) parts.push(`the first ${count(shown.length)} are shown`);
        setText(find("exports-note"), parts.join(", "));
        find("exports").hidden = shown.length === 0;
        keyed(this.body, shown, ({ exported }) => exported.name, newRow, showRow);
    }
}

function newTrouble({ exported }) {
    const link = h("a", { href: placeOf(exported.name), class: "clamped" });
    const text = h("span");
    const item = h("li", {}, h("bdi", {}, link), " ", text);
    item.shown = { link, text };
    return item;
}
