// What the counters say when two looks at them are compared: rates, quantiles, and how they went. Pure.

/** Seconds that a shown rate is taken over. */
export const RATE_SECONDS = 10;
/** Seconds that a shown latency is taken over. */
export const LATENCY_SECONDS = 60;
/** Points of a curve, ten minutes at one in two seconds. */
export const MAX_POINTS = 300;

/** What each command did between two looks, or null if a counter went back: the export was opened again. */
export function difference(later, earlier) {
    const commands = {};
    for (const [name, now] of Object.entries(later.commands)) {
        const before = earlier.commands[name];
        if (!before || now.requests < before.requests || now.buckets.length < before.buckets.length) return null;
        commands[name] = {
            requests: now.requests - before.requests,
            errors: now.errors - before.errors,
            bytes: now.bytes === null || before.bytes === null ? null : now.bytes - before.bytes,
            // There are none before the first request.
            buckets: now.buckets.map(({ le, count }, at) => ({ le, count: count - (before.buckets[at]?.count ?? 0) })),
        };
    }
    return { seconds: later.at - earlier.at, commands };
}

/**
 * The quantile of cumulative buckets, as Prometheus' histogram_quantile takes it: even within a bucket. What lies above
 * the last bound is told as `{ above: bound }`. Null without requests.
 */
export function quantile(share, buckets) {
    const total = buckets.length ? buckets[buckets.length - 1].count : 0;
    if (!(total > 0)) return null;
    const rank = share * total;
    let bound = 0;
    let below = 0;
    for (const { le, count } of buckets) {
        if (count >= rank && count > below) {
            return le === null ? { above: bound } : bound + ((le - bound) * (rank - below)) / (count - below);
        }
        if (le !== null) bound = le;
        below = count;
    }
    return { above: bound };
}

const sum = (commands, value) => Object.values(commands).reduce((all, command) => all + value(command), 0);

/** One export's looks of the last minute, and its curve. */
class Track {
    #looks = [];
    points = [];
    #answeredAt = null;

    add(at, exported) {
        const look = { at, commands: exported.commands };
        const last = this.#looks.at(-1);
        const step = last ? difference(look, last) : null;
        if (last && !step) this.#looks = [];
        const moved = step && sum(step.commands, (command) => command.requests) > 0;
        if (!last || moved || exported.in_flight === 0) this.#answeredAt = at;
        this.#looks.push(look);
        while (this.#looks.length > 2 && this.#looks[1].at <= at - LATENCY_SECONDS) this.#looks.shift();
        this.points.push(step ? pointOf(at, step) : { at });
        if (this.points.length > MAX_POINTS) this.points.shift();
    }

    /** Seconds for which requests have waited and none was answered. */
    stuckSeconds() {
        return this.#looks.length ? this.#looks.at(-1).at - this.#answeredAt : 0;
    }

    /** What was done over about the last `seconds`; null before a second look. */
    over(seconds) {
        const last = this.#looks.at(-1);
        if (this.#looks.length < 2) return null;
        const since = this.#looks.findLast((look) => look.at <= last.at - seconds) ?? this.#looks[0];
        return difference(last, since === last ? this.#looks.at(-2) : since);
    }
}

function pointOf(at, { seconds, commands }) {
    const bytes = (name) => (commands[name]?.bytes ?? 0) / seconds;
    const p99 = (name) => {
        const found = commands[name] ? quantile(0.99, commands[name].buckets) : null;
        return found?.above ?? found;
    };
    return {
        at,
        read: bytes("read"),
        write: bytes("write"),
        requests: sum(commands, (command) => command.requests) / seconds,
        readP99: p99("read"),
        writeP99: p99("write"),
        flushP99: p99("flush"),
    };
}

/** All exports over time. A gateway that was started again, or whose clock was set back, begins with nothing. */
export class History {
    #started = null;
    #tracks = new Map();
    #processor = [];
    totals = [];

    add(status) {
        const { gateway } = status;
        const at = gateway.now_unix_seconds;
        const last = this.totals.at(-1)?.at;
        // The same answer again: it is made for all who ask within a moment.
        if (at === last && gateway.started_unix_seconds === this.#started) return;
        if (gateway.started_unix_seconds !== this.#started || at <= last) {
            this.#tracks.clear();
            this.#processor = [];
            this.totals = [];
            this.#started = gateway.started_unix_seconds;
        }
        const names = new Set(status.exports.map(({ name }) => name));
        for (const name of this.#tracks.keys()) if (!names.has(name)) this.#tracks.delete(name);
        const total = { at, read: 0, write: 0, requests: 0 };
        for (const exported of status.exports) {
            if (!this.#tracks.has(exported.name)) this.#tracks.set(exported.name, new Track());
            const track = this.#tracks.get(exported.name);
            track.add(at, exported);
            for (const key of ["read", "write", "requests"]) total[key] += track.points.at(-1)?.[key] ?? 0;
        }
        this.totals.push(this.totals.length ? total : { at });
        if (this.totals.length > MAX_POINTS) this.totals.shift();
        this.#processor.push({ at, seconds: gateway.cpu_seconds });
        while (this.#processor.length > 2 && this.#processor[1].at <= at - RATE_SECONDS) this.#processor.shift();
    }

    of(name) {
        return this.#tracks.get(name);
    }

    /** Cores in use, or null. */
    cores() {
        const [first, last] = [this.#processor[0], this.#processor.at(-1)];
        if (!last || last.at <= first.at || typeof last.seconds !== "number") return null;
        return Math.max(0, last.seconds - first.seconds) / (last.at - first.at);
    }
}
