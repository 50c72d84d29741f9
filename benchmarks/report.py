"""What every benchmark's result says about the machine it was measured on, and how it is written."""

from __future__ import annotations

import datetime
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


def machine() -> dict[str, str]:
    """Date, processors and versions."""
    names = ("mindspore", "numpy", "torch")
    found = {name: metadata.version(name) for name in names if any(metadata.distributions(name=name))}
    return {
        "date": datetime.date.today().isoformat(),
        "processors": str(os.cpu_count()),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        **found,
    }


def markdown(headings: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table; numbers stand to the right."""
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def write(name: str, title: str, headings: list[str], rows: list[list[Any]], out: Path) -> None:
    """Print the table, and keep it as Markdown and JSON."""
    about = machine()
    text = f"{title}\n\n{markdown(headings, rows)}\n\n" + ", ".join(f"{key} {value}" for key, value in about.items())
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text + "\n")
    data = {"title": title, "machine": about, "rows": [dict(zip(headings, row, strict=True)) for row in rows]}
    (out / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
