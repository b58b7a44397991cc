"""What was found, as tables: what every server did, and whether nbdgate reached its bars."""

from document import columns, describe, table
from kinds import OURS
from workloads import TARGETS

SATURATED_CORES = 0.97
# Within 15 % of a raw loop, for the rows that have one to be compared with.
LIMIT_RATE, LIMIT_CPU = 0.85, 1.15

COLUMNS = ("workload", "server", "rate", "× rate", "CPU/request", "× CPU", "p50", "p99", "× p99", "spread")
BAR_COLUMNS = ("workload", "server", "× rate", "bar", "× CPU", "bar", "× p99", "≤ 1")
LIMIT_COLUMNS = ("workload", "server", "× rate of the loop", f"≥ {LIMIT_RATE}", "× CPU of the loop", f"≤ {LIMIT_CPU}")

METHOD = (
    "Servers and load generator share the machine's cores, over a Unix socket where nothing else is said. Numbers are "
    "medians of interleaved rounds; ratios are taken round by round. CPU is the server's own, per request. The spread "
    "of the rate (largest minus smallest over the median) tells how quiet the machine was. An asterisk marks rows where "
    "the generator used a whole core. In memory, qemu-nbd and nbd-server serve an image in a tmpfs; `limit` is "
    "no server but a raw io_uring loop in one thread, for one connection.")


def ratio(value):
    """With the digits that say something."""
    if value is None:
        return "–"
    digits = 3 if value < 0.1 else 2 if value < 100 else 0
    return f"{value:.{digits}f}"


def cells(row, name, found):
    """One line of the servers' table."""
    if row.is_bulk:
        rate = f"{found['bytes_per_second'] / (1 << 20):,.0f} MiB/s"
    else:
        rate = f"{found['requests_per_second']:,.0f}/s"
    mark = " *" if found["client_cores"] > SATURATED_CORES else ""
    return (row.name, name, rate + mark, ratio(found["rate_ratio"]), f"{found['cpu_us']:.2f} µs",
            ratio(found["cpu_ratio"]), f"{found['p50_us']:,.0f} µs", f"{found['p99_us']:,.0f} µs",
            ratio(found["p99_ratio"]), f"{found['spread']:.0%}")


def verdict(is_met):
    return "met" if is_met else "**not reached**"


def bar_cells(row, name, found):
    """One line of the bars' table; None where there is nothing to compare with."""
    if name not in OURS or any(found[key] is None for key in ("rate_ratio", "cpu_ratio", "p99_ratio")):
        return None
    bar = row.bar if row.binds(name) else None
    return (row.name, name,
            ratio(found["rate_ratio"]), f"≥ {bar.rate:g}: {verdict(found['rate_ratio'] >= bar.rate)}" if bar else "–",
            ratio(found["cpu_ratio"]), f"≤ {bar.cpu:g}: {verdict(found['cpu_ratio'] <= bar.cpu)}" if bar else "–",
            ratio(found["p99_ratio"]), verdict(found["p99_ratio"] <= 1) if row.binds(name) else "–")


def limit_cells(row, name, found):
    """One line of the comparison with the raw loop; None where there is none."""
    rate, cpu = (found.get("to_limit", {}).get(key) for key in ("rate_ratio", "cpu_ratio"))
    if rate is None or cpu is None:
        return None
    return (row.name, name, ratio(rate), verdict(rate >= LIMIT_RATE), ratio(cpu), verdict(cpu <= LIMIT_CPU))


def lines_of(results, target, cells_of):
    """The lines of one target."""
    lines = (cells_of(row, name, found) for row, summary in results if row.target == target
             for name, found in summary.items())
    return [line for line in lines if line is not None]


def targets_of(results):
    return list(dict.fromkeys(row.target for row, _ in results))


def counts(results):
    """How many bars are met, as a sentence for each of our servers."""
    told = []
    for name in OURS:
        found = [line for target in targets_of(results) for line in lines_of(results, target, bar_cells)
                 if line[1] == name]
        if not found:
            continue
        judged = [[line[column] for line in found if line[column] != "–"] for column in (3, 5, 7)]
        rate, cpu, p99 = (f"{sum(cell.endswith('met') for cell in cells)} of {len(cells)}" for cells in judged)
        told.append(f"{name}: rate {rate} bars met, CPU {cpu}, p99 no worse than the baseline's in {p99} rows.")
    return told


def cold_note(results):
    """Whether the cold rows were cold."""
    left = [found["resident_before"] for _, summary in results for found in summary.values()
            if "resident_before" in found]
    if not left:
        return []
    return [f"Cold cache: the image was dropped from the page cache before each run; at most {max(left):.1%} of it "
            "was still there. What lies below the machine's own cache may still be warm."]


def plain(results):
    """For a terminal."""
    parts = []
    for target in targets_of(results):
        title = f"{TARGETS[target].title}, ratios to {TARGETS[target].baseline}"
        parts += [title, columns([COLUMNS, *lines_of(results, target, cells)])]
        for head, cells_of in ((BAR_COLUMNS, bar_cells), (LIMIT_COLUMNS, limit_cells)):
            lines = lines_of(results, target, cells_of)
            parts += [columns([head, *lines]).replace("**", "")] if lines else []
    return "\n\n".join([*parts, "\n".join(counts(results) + cold_note(results))])


def markdown(results, about, commands, notes, chart):
    """The comparison's part of docs/BENCHMARKS.md."""
    lines = [describe(about["machine"], about["versions"].values()), ""]
    lines += [line for command in commands for line in (f"`{command}`", "")]
    lines += [METHOD, "", f"![Rate and CPU per request of each server relative to nbdkit, row by row]({chart})", ""]
    for sentence in counts(results) + cold_note(results):
        lines += [sentence, ""]
    lines += [line for note in notes for line in (f"Note: {note}", "")]
    for target in targets_of(results):
        title, baseline = TARGETS[target].title, TARGETS[target].baseline
        bars, limits = lines_of(results, target, bar_cells), lines_of(results, target, limit_cells)
        lines += [f"### {title} (ratios to {baseline})", ""]
        lines += [*table(BAR_COLUMNS, bars, 2), ""] if bars else []
        lines += [*table(LIMIT_COLUMNS, limits, 2), ""] if limits else []
        lines += ["All servers:", "", *table(COLUMNS, lines_of(results, target, cells), 2), ""]
    return "\n".join(lines).rstrip()
