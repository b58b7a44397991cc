"""The page's own arithmetic, in its own scripts as the gateway serves them, at the edges."""

FORMATS = """
const format = await import("/status/format.js");
const cases = [
    [format.bytes, 0, "0 B"], [format.bytes, 1023, "1023 B"], [format.bytes, 1024, "1.00 KiB"], [format.bytes, null, "–"],
    [format.bytes, 1023.6 * 1024, "1.00 MiB"], [format.bytes, 1536 * 2 ** 30, "1.50 TiB"], [format.bytes, 2 ** 63, "8.00 EiB"],
    [format.size, 10 * 2 ** 30, "10 GiB"], [format.size, 100 * 2 ** 20, "100 MiB"], [format.size, 1536, "1.5 KiB"], [format.size, 0, "0 B"],
    [format.count, 1234567, "1 234 567"], [format.count, 999, "999"], [format.count, undefined, "–"],
    [format.perSecond, 0, "0"], [format.perSecond, 0.34, "0.3"], [format.perSecond, 1234.5, "1 235"], [format.perSecond, NaN, "–"],
    [format.duration, 0, "0 s"], [format.duration, 85e-6, "85 µs"], [format.duration, 0.00123, "1.23 ms"], [format.duration, 0.9999, "1.0 s"],
    [format.duration, 9.96, "10 s"], [format.age, 59.6, "1 min"], [format.age, 3725, "1 h 2 min"], [format.age, 90000, "1 d 1 h"],
    [format.percent, 0, "0 %"], [format.percent, 0.0001, "< 1 %"], [format.percent, 0.9999, "> 99 %"], [format.percent, 1, "100 %"],
    [format.visible, "a\\u202egnp.exe\\n", "a⟨U+202E⟩gnp.exe⟨U+000A⟩"], [format.visible, "döner 😀", "döner 😀"],
];
return cases.map(([made, from, wanted]) => [made.name, String(from), made(from).replace(/[\\u00a0\\u202f]/g, " "), wanted]);
"""

RATES = """
const { History, quantile, difference } = await import("/status/rates.js");
const command = (requests, moved = 0, buckets = []) => ({ requests, errors: 0, bytes: moved, buckets });
const cumulative = [{ le: 0.1, count: 50 }, { le: 1, count: 90 }, { le: null, count: 100 }];
const status = (at, started, requests, in_flight = 0) => ({
    gateway: { now_unix_seconds: at, started_unix_seconds: started, cpu_seconds: at / 2 },
    exports: [{ name: "a", in_flight, commands: { read: command(requests, requests * 4096, requests ? [{ le: 1, count: requests }, { le: null, count: requests }] : []) } }],
});
const history = new History();
const told = { quantiles: [0.5, 0.7, 0.95].map((share) => quantile(share, cumulative)), none: quantile(0.5, [{ le: 1, count: 0 }]), empty: quantile(0.5, []) };
history.add(status(100, 1, 0));
told.before = history.of("a").over(10);
history.add(status(102, 1, 0, 3));
history.add(status(104, 1, 20, 3));
told.first = history.of("a").over(10).commands.read;
for (let at = 106; at <= 130; at += 2) history.add(status(at, 1, 20, 3));
told.later = history.of("a").over(10).commands.read.requests;
told.minute = history.of("a").over(60).commands.read.requests;
told.stuck = history.of("a").stuckSeconds();
told.cores = history.cores();
history.add(status(132, 131, 5));
told.again = history.of("a").over(10);
history.add(status(134, 131, 7));
told.fresh = history.of("a").over(10).commands.read.requests;
history.add(status(136, 131, 6));
told.back = history.of("a").over(10);
for (let at = 138; at < 2200; at += 2) history.add(status(at, 131, 6));
told.points = [history.of("a").points.length, history.totals.length];
history.add(status(1800, 131, 6));
told.clock = [history.of("a").over(10), history.totals.length, history.of("a").points.length];
history.add(status(1800, 131, 6));
history.add(status(1802, 131, 8));
told.forth = [history.of("a").over(10).commands.read.requests, history.totals.at(-1).requests, history.totals.length];
history.add({ ...status(2300, 131, 6), exports: [] });
told.gone = history.of("a") ?? null;
return told;
"""

CLIENTS = """
const { servedBy, untold } = await import("/status/clients.js");
const names = new Set(["a", "a@b", "", "c"]);
const asked = ["a", "a@b", "a@x", "a@b@x", "@x", "c@", "d", "d@a"].map((name) => servedBy(name, names) ?? null);
const clients = ["a", "a", "a@b"].map((name) => ({ export: name }));
const exports = [["a", 5], ["a@b", 1], ["c", 0]].map(([name, connections]) => ({ name, connections }));
return { asked, untold: [untold(exports, clients), untold(exports.slice(1), clients), untold([], clients)] };
"""


def arithmetic(browser, forwarder, _folder, _exports):
    browser.open(forwarder.url + "/status")
    for made, number, shown, wanted in browser.run(FORMATS):
        assert shown == wanted, f"{made}({number}) is {shown!r}, not {wanted!r}"
    told = browser.run(RATES)
    assert told["quantiles"] == [0.1, 0.55, {"above": 1}], told
    assert told["none"] is None and told["empty"] is None and told["before"] is None, told
    assert told["first"]["requests"] == 20 and told["first"]["bytes"] == 81920, told
    assert told["first"]["buckets"][-1] == {"le": None, "count": 20}, told
    assert told["later"] == 0 and told["minute"] == 20, told
    assert told["stuck"] == 26 and told["cores"] == 0.5, told
    assert told["again"] is None and told["fresh"] == 2 and told["back"] is None, told
    assert told["clock"] == [None, 1, 1] and told["forth"] == [2, 1, 2], told
    assert told["points"] == [300, 300] and told["gone"] is None, told
    told = browser.run(CLIENTS)
    assert told["asked"] == ["a", "a@b", "a", "a@b", "", "c", None, None], told
    assert told["untold"] == [3, 0, 0], told
