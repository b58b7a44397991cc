"""Sections of docs/BENCHMARKS.md that a command writes: each between two comments that name it."""

import os
import platform
import re
from pathlib import Path

HEAD = "# Benchmarks\n"


def write_section(path, name, title, text):
    """Replaces a section's text; the rest of the document stays. A section that is not there is added at the end."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    document = path.read_text() if path.exists() else HEAD
    before, found, rest = document.partition(begin)
    if found:
        rest = rest.partition(f"{end}\n")[2]
    else:
        before = f"{document.rstrip()}\n\n## {title}\n\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{before}{begin}\n{text}\n{end}\n{rest}")


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


def describe(host, versions):
    """The same as a sentence."""
    return (f"{host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB, {host['system']}, "
            f"Linux {host['kernel']}; " + ", ".join(versions) + ".")


def table(head, lines, texts=1):
    """Markdown; the first `texts` columns are to the left."""
    marks = ["---"] * texts + ["---:"] * (len(head) - texts)
    return ["| " + " | ".join(line) + " |" for line in (head, marks, *lines)]


def columns(lines):
    """The same for a terminal."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = lambda line: "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
    return "\n".join(text(line) for line in lines)
