// One export: its curves, its commands, where its bytes are, its snapshots and its price.

import { describe, h, keyed, part, setAttribute, setName, setNumber, setText, table } from "./dom.js";
import { age, bytes, bytesPerSecond, count, duration, events, moment, perSecond, size } from "./format.js";
import { objectFacts, rocksdbFacts, yes } from "./facts.js";
import { stateOf, troublesOf } from "./attention.js";
import { Chart } from "./chart.js";
import { Price } from "./price.js";
import { STORAGES, figuresOf, latency } from "./row.js";
import { Space } from "./space.js";

const COMMANDS = {
    read: "Read",
    write: "Write",
    flush: "Flush",
    trim: "Trim",
    write_zeroes: "Write zeroes",
    cache: "Cache",
    block_status: "Block status",
};

const COMMAND_COLUMNS = ["Command", "Requests/s", "Throughput", "p50", "p99", "Requests", "Bytes", "Errors"];
const SNAPSHOT_COLUMNS = ["Snapshot", "Made", "Pins", "Frees if removed", "Served"];

function newCommand({ name }) {
    const shown = COMMAND_COLUMNS.slice(1).map(() => h("data"));
    const cells = shown.map((data, at) => part("td", { class: "number", "data-title": COMMAND_COLUMNS[at + 1] }, data));
    const head = part("th", { role: "rowheader", scope: "row" }, COMMANDS[name] ?? name);
    const row = part("tr", { "data-command": name }, head, ...cells);
    row.shown = shown;
    return row;
}

function showCommand(row, { figures, told }) {
    const values = [
        [figures.requests, perSecond(figures.requests)],
        [figures.bytes, bytesPerSecond(figures.bytes)],
        [figures.p50, latency(figures.p50)],
        [figures.p99, latency(figures.p99)],
        [told.requests, count(told.requests)],
        [told.bytes, bytes(told.bytes)],
        [told.errors, count(told.errors)],
    ];
    for (const [at, [number, text]] of values.entries()) setNumber(row.shown[at], number, text);
    row.classList.toggle("unused", told.requests === 0);
    row.lastElementChild.classList.toggle("bad", told.errors > 0);
}

function newSnapshot() {
    const name = h("bdi");
    const shown = SNAPSHOT_COLUMNS.slice(1).map(() => h("data"));
    const cells = shown.map((data, at) =>
        part("td", { class: "number", "data-title": SNAPSHOT_COLUMNS[at + 1] }, data),
    );
    const row = part("tr", {}, part("th", { role: "rowheader", scope: "row" }, name), ...cells);
    row.shown = { name, cells: shown };
    return row;
}

function showSnapshot(row, snapshot) {
    const [made, pins, alone, served] = row.shown.cells;
    setName(row.shown.name, snapshot.name);
    setNumber(made, snapshot.created_unix_seconds, moment(snapshot.created_unix_seconds));
    setNumber(pins, snapshot.pinned_bytes, bytes(snapshot.pinned_bytes));
    setNumber(alone, snapshot.pinned_alone_bytes, bytes(snapshot.pinned_alone_bytes));
    setText(served, yes(snapshot.served));
}

const panel = (title, ...children) => h("section", { class: "panel" }, h("h3", {}, title), ...children);

/** The detail of one export; another export gets another one. */
export class Detail {
    constructor(place, name) {
        this.name = name;
        this.title = h("h2", { id: "detail-title", tabindex: "-1" });
        this.pill = h("span", { class: "pill" });
        this.about = h("p", { class: "note" });
        this.troubles = h("ul");
        this.facts = h("dl", { class: "facts" });
        this.missing = h("p", { class: "note", hidden: true }, "The gateway serves no export of this name now.");
        const lines = (kinds) => kinds.map(([key, kind, title]) => ({ key, kind, title }));
        this.throughput = new Chart(
            "Throughput",
            lines([
                ["read", "read", "read"],
                ["write", "write", "write"],
            ]),
            bytesPerSecond,
            { binary: true },
        );
        this.rate = new Chart("Requests", lines([["requests", "requests", "all"]]), events);
        const p99 = [
            ["readP99", "read", "read"],
            ["writeP99", "write", "write"],
            ["flushP99", "flush", "flush"],
        ];
        this.latency = new Chart("Latency, p99", lines(p99), duration);
        this.commands = table("Commands", COMMAND_COLUMNS, { class: "commands" });
        this.storage = h("dl", { class: "facts wide" });
        this.storageTitle = h("h3");
        this.storagePanel = h("section", { class: "panel" }, this.storageTitle, this.storage);
        this.space = new Space();
        this.snapshots = table("Snapshots", SNAPSHOT_COLUMNS, { class: "snapshots" });
        this.noSnapshots = h("p", { class: "note" });
        this.snapshotPanel = panel("Snapshots", this.snapshots.whole, this.noSnapshots);
        this.price = new Price();
        this.taken = h("p", { class: "note taken" });
        this.content = h(
            "div",
            {},
            this.facts,
            h("div", { class: "attention" }, this.troubles),
            h("div", { class: "charts" }, this.throughput.element, this.rate.element, this.latency.element),
            panel("Commands", this.commands.whole),
            this.storagePanel,
            this.space.element,
            h("div", { class: "pair" }, this.snapshotPanel, panel("Cost", this.price.element)),
            this.taken,
        );
        this.back = h("a", { href: "#", class: "back" }, "‹ all exports");
        place.replaceChildren(
            this.back,
            h("div", { class: "heading" }, this.title, this.pill),
            this.about,
            this.missing,
            this.content,
        );
        setName(this.title, name);
        this.showTaken(null, null);
    }

    /** Shows the export as the gateway last told it. */
    show(status, history) {
        const exported = status.exports.find(({ name }) => name === this.name);
        this.missing.hidden = Boolean(exported);
        this.content.hidden = this.pill.hidden = !exported;
        if (!exported) return;
        const track = history.of(this.name);
        const troubles = troublesOf(exported, track);
        const [word, level] = stateOf(exported, troubles);
        setText(this.pill, word);
        setAttribute(this.pill, "class", `pill ${level}`);
        setText(this.about, exported.description ?? "");
        keyed(
            this.troubles,
            troubles,
            ({ text }) => text.replace(/[\d.]+/g, ""),
            () => h("li"),
            (item, trouble) => {
                setAttribute(item, "class", trouble.level);
                setText(item, trouble.text);
            },
        );
        describe(this.facts, [
            ["storage", STORAGES[exported.storage] ?? exported.storage, null],
            ["size", size(exported.size_bytes), exported.size_bytes],
            ["access", exported.read_only ? "read-only" : "read and write", null],
            ["clients", count(exported.connections), exported.connections],
            ["in flight", count(exported.in_flight), exported.in_flight],
            ["flush latched", yes(exported.flush_latched), null, exported.flush_latched ? "bad" : null],
        ]);
        this.#curves(exported, track);
        this.storagePanel.hidden = !exported.object && !exported.rocksdb;
        setText(this.storageTitle, exported.object ? "Object log" : "RocksDB");
        describe(
            this.storage,
            exported.object ? objectFacts(exported.object) : exported.rocksdb ? rocksdbFacts(exported.rocksdb) : [],
        );
    }

    #curves(exported, track) {
        const names = [
            ...Object.keys(COMMANDS),
            ...Object.keys(exported.commands).filter((name) => !(name in COMMANDS)),
        ];
        const told = names.filter((name) => exported.commands[name]);
        const rows = told.map((name) => ({ name, told: exported.commands[name], figures: figuresOf(track, name) }));
        keyed(this.commands.body, rows, ({ name }) => name, newCommand, showCommand);
        const of = Object.fromEntries(rows.map(({ name, figures }) => [name, figures]));
        const none = { p99: null, bytes: null };
        const [read, write, flush] = [of.read ?? none, of.write ?? none, of.flush ?? none];
        const all = rows.reduce(
            (sum, { figures }) => (figures.requests === null ? sum : (sum ?? 0) + figures.requests),
            null,
        );
        const points = track?.points ?? [];
        this.throughput.show(points, { read: bytesPerSecond(read.bytes), write: bytesPerSecond(write.bytes) });
        this.rate.show(points, { requests: events(all) });
        this.latency.show(points, {
            readP99: latency(read.p99),
            writeP99: latency(write.p99),
            flushP99: latency(flush.p99),
        });
    }

    /** Shows what is looked at less often; `failure` says why there is nothing newer. */
    showTaken(taken, failure, now = null) {
        const since =
            taken && now !== null
                ? `Space, snapshots and cost are as of ${age(Math.max(0, now - taken.taken_unix_seconds))} ago.`
                : "";
        setText(
            this.taken,
            failure ? `${since} ${failure}`.trim() : taken ? since : "Looking at space, snapshots and cost …",
        );
        if (!taken) return;
        this.space.show(taken);
        const { snapshots, snapshots_total: total } = taken;
        const older = snapshots ? total - snapshots.length : 0;
        this.snapshots.whole.hidden = !snapshots?.length;
        this.noSnapshots.hidden = Boolean(snapshots?.length) && !(older > 0);
        setText(
            this.noSnapshots,
            older > 0 ? `and ${count(older)} older` : snapshots ? "None." : "Not known, or the storage has none.",
        );
        keyed(this.snapshots.body, snapshots ?? [], ({ name }) => name, newSnapshot, showSnapshot);
        this.price.show(taken.cost);
    }

    /** Whether there is a way back to other exports. */
    alone(only) {
        this.back.hidden = only;
    }
}
