"""What every benchmark's result says about the machine it was measured on, and how it is written."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LOAD = float(os.environ.get("BENCH_LOAD", os.getloadavg()[0]))
"""Of the minute before the benchmark, or before the first of several."""


def busy() -> float:
    """Processor seconds that the whole machine has spent since it started; 0 where the system does not tell."""
    try:
        first = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = map(int, first)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own() -> float:
    """Processor seconds that this process and its ended children have spent."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


BEGAN = time.monotonic(), busy(), own()


def others() -> float:
    """Processors that other programs kept busy, on average, since this benchmark began."""
    began, busy_then, own_then = BEGAN
    return max(0.0, (busy() - busy_then - (own() - own_then)) / max(time.monotonic() - began, 0.01))


def processor() -> str:
    """The model's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name"))
    return next(named, platform.processor() or "unknown")


def memory() -> float:
    """GB of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def machine() -> dict[str, str]:
    """Date, processors, memory, versions, and how busy the machine was with other things."""
    names = ("mindspore", "numpy", "torch", "diffusers")
    found = {name: metadata.version(name) for name in names if any(metadata.distributions(name=name))}
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "processors": str(os.cpu_count()),
        "memory": f"{memory():.0f} GB",
        "load before": f"{LOAD:.1f}",
        "processors busy elsewhere": f"{others():.2f}",
        "architecture": platform.machine(),
        "python": platform.python_version(),
        **found,
    }


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds: seconds, and noise")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="folder for the results")
    return parser


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, least and most."""
    middle, least, most = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})" if len(values) > 1 else middle


def markdown(headings: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table; numbers stand to the right."""
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def write(
    name: str, title: str, headings: list[str], rows: list[list[Any]], out: Path, headline: str = "", **more: Any
) -> None:
    """Print the table, and keep it as Markdown and JSON.

    Args:
        headline: the figure for the index of all results; the title stands there without one.
        more: further keys of the JSON.
    """
    about = machine()
    said = ", ".join(f"{key} {value}" for key, value in about.items())
    text = "\n\n".join(filter(None, [title, headline, markdown(headings, rows), said]))
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text + "\n")
    table = [dict(zip(headings, row, strict=True)) for row in rows]
    data = {"title": title, "headline": headline, "machine": about, "rows": table, **more}
    (out / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
