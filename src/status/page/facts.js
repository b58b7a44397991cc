// What the storage of an export tells, as facts: `[term, text, number, level]`. Pure.

import { age, bytes, duration, percent, shareOf, size, DASH } from "./format.js";

export const yes = (truth) => (typeof truth === "boolean" ? (truth ? "yes" : "no") : DASH);

/** What the object log tells, as facts. */
export function objectFacts({ phase, lease_held, commit_lag_seconds, dirty_bytes, journal, gc }) {
    const facts = [
        ["phase", phase ?? DASH, null],
        ["lease held", yes(lease_held), null, lease_held === false ? "bad" : null],
        ["commit lag", age(commit_lag_seconds), commit_lag_seconds],
        ["dirty", bytes(dirty_bytes), dirty_bytes],
    ];
    if (journal) {
        facts.push(
            [
                "journal used",
                `${percent(shareOf(journal.used_bytes, journal.size_bytes))} of ${size(journal.size_bytes)}`,
                journal.used_bytes,
            ],
            ["journal lag", `${age(journal.lag_seconds)}, ${bytes(journal.lag_bytes)}`, journal.lag_bytes],
            ["write delay", duration(journal.write_delay_seconds), journal.write_delay_seconds],
            ["journal failed", yes(journal.failed), null, journal.failed ? "bad" : null],
        );
    }
    if (gc) {
        const live = shareOf(gc.live_blocks, gc.stored_blocks);
        const garbage = live === null ? null : 1 - live;
        facts.push(
            ["garbage", percent(garbage), garbage],
            ["gc is behind by", bytes(gc.behind_bytes), gc.behind_bytes],
            ["waits for deletion", bytes(gc.waiting_bytes), gc.waiting_bytes],
            ["pinned by snapshots", bytes(gc.pinned_bytes), gc.pinned_bytes],
        );
    }
    return facts;
}

/** What RocksDB tells: each level by its name, whose end is its unit. */
export function rocksdbFacts(levels) {
    return Object.entries(levels).map(([name, value]) => {
        const [, stem, unit] = /^(.*?)(?:_(bytes|seconds))?$/.exec(name);
        const term = stem.replaceAll("_", " ");
        if (typeof value === "boolean") return [term, yes(value), null, value ? "bad" : null];
        const format =
            { bytes, seconds: duration }[unit] ?? ((ratio) => (typeof ratio === "number" ? ratio.toFixed(2) : DASH));
        return [term, format(value), value];
    });
}
