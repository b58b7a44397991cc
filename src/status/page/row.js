// One export as a row: its state, its rates and latencies, its last minutes as a curve, and how far its bucket lags.

import { h, part, placeOf, setAttribute, setName, setNumber, setText } from "./dom.js";
import { age, bytes, bytesPerSecond, count, duration, percent, perSecond, shareOf, size, DASH } from "./format.js";
import { JOURNAL_SHARE, stateOf } from "./attention.js";
import { Sparkline } from "./chart.js";
import { LATENCY_SECONDS, RATE_SECONDS, quantile } from "./rates.js";

export const STORAGES = { "object-log": "object log", rocksdb: "RocksDB", file: "file", memory: "memory" };

/** The columns, each with the key of its order, if it has one. */
export const COLUMNS = [
    ["export", "Export"],
    ["state", "State"],
    ["read", "Read"],
    ["write", "Write"],
    [null, "Last minutes"],
    ["requests", "Requests/s"],
    ["flush", "Flush p99"],
    ["waiting", "In flight"],
    ["clients", "Clients"],
    ["lag", "Lag"],
];

/** A quantile as text; `> 10 s` above the last bucket. */
export function latency(found) {
    if (found === null) return DASH;
    return found.above === undefined ? duration(found) : `>\u00a0${duration(found.above)}`;
}

/** Rates and latencies of one command, from its track. */
export function figuresOf(track, command) {
    const lately = track?.over(RATE_SECONDS);
    const minute = track?.over(LATENCY_SECONDS)?.commands[command];
    const rate = (moved) => (typeof moved === "number" && lately.seconds > 0 ? moved / lately.seconds : null);
    return {
        requests: rate(lately?.commands[command]?.requests),
        bytes: rate(lately?.commands[command]?.bytes),
        p50: minute ? quantile(0.5, minute.buckets) : null,
        p99: minute ? quantile(0.99, minute.buckets) : null,
    };
}

/** A cell with a number and a line below it. */
function cell(title, extra = {}) {
    const main = h("data", { class: "main" });
    const below = h("span", { class: "below" });
    const element = part("td", { "data-title": title, ...extra }, h("div", {}, main, below));
    return { element, main, below };
}

/** A row for an export that was not there before. */
export function newRow(item) {
    const link = h("a", { href: placeOf(item.exported.name) });
    const facts = h("span", { class: "below" });
    const head = part("th", { role: "rowheader", scope: "row" }, h("bdi", {}, link), facts);
    const pill = h("span", { class: "pill" });
    const state = part("td", { "data-title": "State" }, pill);
    const spark = new Sparkline([
        { key: "read", kind: "read" },
        { key: "write", kind: "write" },
    ]);
    const cells = {};
    for (const [key, title] of COLUMNS.filter(([key]) => key && key !== "export" && key !== "state"))
        cells[key] = cell(title, { class: "number" });
    cells.fill = h("span", { class: "fill" });
    cells.meter = h(
        "span",
        { class: "meter", role: "meter", "aria-label": "journal", "aria-valuemin": "0", "aria-valuemax": "100" },
        cells.fill,
    );
    cells.lag.element.firstChild.append(cells.meter);
    const { read, write, requests, flush, waiting, clients, lag } = cells;
    const curve = part("td", { class: "curve" }, spark.element);
    const order = [
        read.element,
        write.element,
        curve,
        requests.element,
        flush.element,
        waiting.element,
        clients.element,
        lag.element,
    ];
    const row = part("tr", {}, head, state, ...order);
    row.shown = { link, facts, pill, cells, spark };
    return row;
}

const both = ({ p50, p99 }) => (p99 === null ? "" : `${latency(p50)} · ${latency(p99)}`);

/** Shows an export and its figures in its row. */
export function showRow(row, { exported, track, troubles, read, write, flush, requests }) {
    const { link, facts, pill, cells, spark } = row.shown;
    setName(link, exported.name);
    const of = [STORAGES[exported.storage] ?? exported.storage, size(exported.size_bytes)];
    if (exported.read_only) of.push("read-only");
    setText(facts, of.join(" · "));
    const [word, level] = stateOf(exported, troubles);
    setText(pill, word);
    setAttribute(pill, "class", `pill ${level}`);
    for (const [shown, figures] of [
        [cells.read, read],
        [cells.write, write],
    ]) {
        setNumber(shown.main, figures.bytes, bytesPerSecond(figures.bytes));
        setText(shown.below, both(figures));
    }
    setNumber(cells.requests.main, requests, perSecond(requests));
    setNumber(cells.flush.main, flush.p99, latency(flush.p99));
    setNumber(cells.waiting.main, exported.in_flight, count(exported.in_flight));
    setNumber(cells.clients.main, exported.connections, count(exported.connections));
    showLag(cells, exported.object);
    spark.show(track?.points ?? []);
}

function showLag({ lag, meter, fill }, object) {
    setNumber(lag.main, object?.commit_lag_seconds, object ? age(object.commit_lag_seconds) : DASH);
    setText(lag.below, object ? bytes(object.journal?.lag_bytes ?? object.dirty_bytes) : "");
    const { journal } = object ?? {};
    meter.hidden = !journal;
    if (!journal) return;
    const share = shareOf(journal.used_bytes, journal.size_bytes);
    fill.style.width = `${Math.min(100, (share ?? 0) * 100).toFixed(1)}%`;
    setAttribute(meter, "aria-valuenow", Math.round((share ?? 0) * 100));
    setAttribute(meter, "title", `journal ${percent(share)} full`);
    meter.classList.toggle("high", share >= JOURNAL_SHARE);
}
