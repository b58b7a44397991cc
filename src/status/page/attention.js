// What somebody should look at, worst first. Each is { level: "bad" | "warn", text }, for one export. Pure.

import { age, bytes, count, duration, percent, shareOf } from "./format.js";
import { LATENCY_SECONDS } from "./rates.js";

/** Seconds that requests may wait without any being answered. */
const STUCK_SECONDS = 10;
/** Seconds that the bucket may lack writes. */
const LAG_SECONDS = 300;
/** Share of the journal from which it is said to fill up. */
export const JOURNAL_SHARE = 0.8;

const LEVELS = ["bad", "warn"];

/** What is said of each phase of a disk in an object store that is not the usual one. */
const PHASES = {
    claiming: ["warn", "is being taken over"],
    fencing: ["warn", "is being taken over from an earlier gateway"],
    waiting: ["warn", "waits until an earlier gateway can answer no more"],
    recovering: ["warn", "is being recovered"],
    stalled: ["bad", "the object store does not answer"],
    draining: ["warn", "is being closed"],
    closed: ["warn", "is closed"],
    fenced: ["bad", "was taken over by another gateway"],
    failed: ["bad", "failed for good: see the log"],
};

function ofObject(object, say) {
    const [level, text] = PHASES[object.phase] ?? [];
    if (level) say(level, text);
    if (object.phase === "open" && object.lease_held === false) say("bad", "the lease on the disk is not held");
    const { journal } = object;
    if (journal?.failed) say("bad", "the journal failed: writes and flushes are refused");
    if (journal?.write_delay_seconds > 0) {
        say("warn", `writes are held back by ${duration(journal.write_delay_seconds)} each: the bucket is behind`);
    }
    const share = journal ? shareOf(journal.used_bytes, journal.size_bytes) : null;
    if (share >= JOURNAL_SHARE) say("warn", `the journal is ${percent(share)} full`);
    const lag = Math.max(object.commit_lag_seconds ?? 0, journal?.lag_seconds ?? 0);
    if (lag > LAG_SECONDS)
        say("warn", `the bucket lags by ${age(lag)} (${bytes(journal?.lag_bytes ?? object.dirty_bytes)})`);
}

/** What is wrong with an export, from what it tells and how it went. */
export function troublesOf(exported, track) {
    const found = [];
    const say = (level, text) => found.push({ level, text });
    if (exported.flush_latched)
        say("bad", "a flush failed: writes and flushes are refused until the gateway is restarted");
    if (exported.object) ofObject(exported.object, say);
    if (exported.rocksdb?.latched) say("bad", "a sync of the log failed: writes and flushes are refused");
    if (exported.rocksdb?.writes_stopped) say("bad", "RocksDB takes no writes");
    const stuck = track?.stuckSeconds() ?? 0;
    if (stuck >= STUCK_SECONDS) {
        const waiting = `${count(exported.in_flight)} ${exported.in_flight === 1 ? "request waits" : "requests wait"}`;
        say("bad", `${waiting}, none was answered for ${age(stuck)}`);
    }
    const lately = track?.over(LATENCY_SECONDS);
    const errors = lately ? Object.values(lately.commands).reduce((all, command) => all + (command.errors ?? 0), 0) : 0;
    if (errors > 0) say("warn", `${count(errors)} ${errors === 1 ? "request" : "requests"} failed in the last minute`);
    return found.sort((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level));
}

/** The word for an export's state, and its level. */
export function stateOf(exported, troubles) {
    const level = troubles[0]?.level ?? "good";
    if (exported.flush_latched) return ["latched", level];
    if (exported.object?.phase && exported.object.phase !== "open") return [exported.object.phase, level];
    return [{ bad: "trouble", warn: "warning", good: "ok" }[level], level];
}
