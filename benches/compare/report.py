"""What was found, as a table to read, as Markdown and as JSON."""

import os
import platform
import re
from pathlib import Path

BEGIN, END = "<!-- comparison: begin -->", "<!-- comparison: end -->"
SATURATED_CORES = 0.97

TITLES = {
    "memory": "Memory",
    "file": "File in the page cache",
    "direct": "File with O_DIRECT",
}
COLUMNS = ("workload", "server", "rate", "× rate", "CPU/request", "× CPU", "p50", "p99", "spread")


def machine():
    """What it ran on."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    release = Path("/etc/os-release")
    system = re.search(r'PRETTY_NAME="(.+)"', release.read_text()) if release.exists() else None
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory.group(1)) / (1 << 20)) if memory else None,
        "kernel": platform.release(),
        "system": system.group(1) if system else platform.system(),
    }


def ratio(value):
    return "–" if value is None else f"{value:.2f}"


def cells(row, name, found):
    """One line of a table."""
    if row.is_bulk:
        rate = f"{found['bytes_per_second'] / (1 << 20):,.0f} MiB/s"
    else:
        rate = f"{found['requests_per_second']:,.0f}/s"
    mark = " *" if found["client_cores"] > SATURATED_CORES else ""
    return (row.name, name, rate + mark, ratio(found["rate_ratio"]), f"{found['cpu_us']:.2f} µs",
            ratio(found["cpu_ratio"]), f"{found['p50_us']:,.0f} µs", f"{found['p99_us']:,.0f} µs",
            f"{found['spread']:.0%}")


def plain(results):
    """Columns for a terminal."""
    lines = [COLUMNS] + [cells(row, name, found) for row, summary in results for name, found in summary.items()]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    text = lambda line: "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
    return "\n".join(text(line) for line in lines)


def markdown(results, baselines, about, command):
    """The comparison's part of docs/BENCHMARKS.md."""
    host = about["machine"]
    lines = [
        f"{host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB, {host['system']}, Linux {host['kernel']}; "
        + ", ".join(about["versions"].values()) + ".",
        "",
        f"`{command}`",
        "",
        "Servers and load generator share the machine's cores over a Unix socket. Numbers are medians of interleaved "
        "rounds; ratios are taken round by round. CPU is the server's own, per request. The spread of the rate "
        "(largest minus smallest over the median) tells how quiet the machine was. An asterisk marks rows where the "
        "generator used a whole core. In memory, qemu-nbd serves an image in a tmpfs.",
    ]
    for target in dict.fromkeys(row.target for row, _ in results):
        lines += ["", f"### {TITLES[target]} (ratios to {baselines[target]})", ""]
        lines += ["| " + " | ".join(COLUMNS) + " |", "|---|---" + "|---:" * (len(COLUMNS) - 2) + "|"]
        for row, summary in results:
            if row.target == target:
                lines += ["| " + " | ".join(cells(row, name, found)) + " |" for name, found in summary.items()]
    return "\n".join(lines)


def write_markdown(path, text):
    """Replaces the comparison's part of the document; the rest stays."""
    part = f"{BEGIN}\n{text}\n{END}\n"
    document = path.read_text() if path.exists() else f"# Benchmarks\n\n## Side by side\n\n{BEGIN}\n{END}\n"
    before, found, rest = document.partition(BEGIN)
    if found:
        rest = rest.partition(f"{END}\n")[2]
    else:
        before = document.rstrip("\n") + "\n\n## Side by side\n\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(before + part + rest)
