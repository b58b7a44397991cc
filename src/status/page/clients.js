// Who is connected.

import { find, h, keyed, part, placeOf, setAttribute, setName, setNumber, setText, table } from "./dom.js";
import { age, count, moment, visible } from "./format.js";

/** Rows at one time, of one export and of all. */
const MAX_ROWS = 100;
const MAX_ROWS_OF_ALL = 20;
const COLUMNS = ["Client", "Export", "Replies", "Connected for"];

/** The export of those names that serves what was asked for: itself, or the one of whose disk it is a snapshot, `disk@snapshot`. */
export function servedBy(asked, names) {
    if (names.has(asked)) return asked;
    for (let at = asked.lastIndexOf("@"); at >= 0; at = at > 0 ? asked.lastIndexOf("@", at - 1) : -1) {
        if (names.has(asked.slice(0, at))) return asked.slice(0, at);
    }
    return undefined;
}

/** How many clients of these exports are not told of one by one. */
export function untold(exports, clients) {
    const told = new Map();
    for (const { export: name } of clients) told.set(name, (told.get(name) ?? 0) + 1);
    return exports.reduce((all, { name, connections }) => all + Math.max(0, connections - (told.get(name) ?? 0)), 0);
}

function newRow() {
    const shown = {
        peer: h("bdi", { class: "peer" }),
        link: h("a", { class: "clamped" }),
        style: h("span"),
        since: h("data"),
    };
    const cell = (at, child) => part("td", { "data-title": COLUMNS[at] }, child);
    const head = part("th", { role: "rowheader", scope: "row" }, shown.peer);
    const row = part("tr", {}, head, cell(1, h("bdi", {}, shown.link)), cell(2, shown.style), cell(3, shown.since));
    row.shown = shown;
    return row;
}

/** What the table does not show. */
function noteOf(shown, found, missing, told, name) {
    const first = missing > 0 ? `the list tells the first ${count(told)} of the gateway` : "";
    if (shown === 0) return first || "Nobody is connected.";
    const more = found + missing - shown;
    const others = more > 0 ? `and ${count(more)} more${name === null ? ": choose an export" : ""}` : "";
    return first ? `${others}; ${first}` : others;
}

/** The table of clients: of one export, or of all. */
export class Clients {
    constructor() {
        this.title = h("h3", { id: "clients-title" });
        this.table = table("Clients", COLUMNS, { class: "clients" });
        this.note = h("p", { class: "note" });
        find("clients").append(this.title, this.table.whole, this.note);
    }

    show(status, name) {
        const all = status.clients ?? [];
        const names = new Set(status.exports.map((exported) => exported.name));
        const found = name === null ? all : all.filter((client) => servedBy(client.export, names) === name);
        const missing = untold(name === null ? status.exports : status.exports.filter((of) => of.name === name), all);
        const rows = found
            .slice(0, name === null ? MAX_ROWS_OF_ALL : MAX_ROWS)
            .map((client, at) => ({ ...client, at }));
        setText(this.title, `Clients (${count(found.length + missing)})`);
        this.table.whole.hidden = rows.length === 0;
        setText(this.note, noteOf(rows.length, found.length, missing, all.length, name));
        keyed(
            this.table.body,
            rows,
            ({ at }) => at,
            newRow,
            (row, client) => {
                const { peer, link, style, since } = row.shown;
                setText(peer, visible(client.peer));
                setName(link, client.export);
                const place = servedBy(client.export, names);
                setAttribute(link, "href", place === undefined ? null : placeOf(place));
                setText(style, client.style);
                const seconds = status.gateway.now_unix_seconds - client.since_unix_seconds;
                setNumber(since, client.since_unix_seconds, age(seconds));
                setAttribute(since, "title", `since ${moment(client.since_unix_seconds)}`);
            },
        );
    }
}
