"""The curves as pictures: what was measured, with least and most, and growth in proportion to compare with."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLOURS = {"blue": "#1f5fa8", "red": "#c0392b", "grey": "#8a8a8a"}
Points = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Panel:
    """One diagram of a picture.

    Attributes:
        label: of the vertical axis, with its unit.
        lines: name of a number of the points -> what it is.
        linear: draw what growth in proportion would be: to the last point, or to the first one without ``log``.
        log: of the vertical axis.
    """

    label: str
    lines: dict[str, str]
    linear: bool = False
    log: bool = True


TIME = Panel("seconds a step", {"step": "by the clock", "processor": "of processors"}, linear=True)
MEMORY = Panel("peak memory (GB)", {"peak": "whole process", "before": "before the model is built"}, log=False)
FIRST = Panel("seconds to the first step", {"first": "by the clock", "first_processor": "of processors"}, linear=True)
CURVES: dict[str, tuple[str, str, list[Panel]]] = {
    "tokens": ("Tokens", "latents in a picture (side x side)", [TIME, MEMORY]),
    "batch": ("Batch", "pictures in a batch", [TIME, MEMORY]),
    "depth": ("Depth", "transformer blocks", [TIME, FIRST, MEMORY]),
    "ranks": (
        "Ranks on one machine",
        "ranks, each with a batch of 2",
        [
            Panel("seconds a step", {"step": "by the clock", "processor": "of processors, each rank"}, log=False),
            Panel("images a second, all ranks", {"images": "measured"}, linear=True, log=False),
        ],
    ),
    "dataset": (
        "Size of the data set",
        "samples",
        [
            Panel("seconds until the data is open", {"opened": "{format}"}, linear=True),
            Panel("seconds from start to first step", {"start": "{format}"}, log=False),
            Panel("GB in memory at the first step", {"resident": "{format}"}, log=False),
        ],
    ),
}
"""Curve -> title, label of the horizontal axis, diagrams."""


def paint(name: str, points: Points, about: str, path: Path) -> None:
    """Draw one curve into a PNG file.

    Raises:
        ImportError: matplotlib is missing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    title, horizontal, panels = CURVES[name]
    figure = Figure(figsize=(4.4 * len(panels), 3.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{title}: {about}", fontsize=10)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _fill(axes, panel, points)
        axes.set_xlabel(horizontal)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _fill(axes: Any, panel: Panel, points: Points) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    kinds = list(dict.fromkeys(point.get("format", "") for point in points))
    colours = iter(COLOURS.values())
    for kind in kinds:
        chosen = [point for point in points if point.get("format", "") == kind]
        places = [point["at"] for point in chosen]
        for line, label in panel.lines.items():
            values = [_values(point[line]) for point in chosen]
            middle = [statistics.median(found) for found in values]
            errors = [[m - min(v) for m, v in zip(middle, values, strict=True)]]
            errors += [[max(v) - m for m, v in zip(middle, values, strict=True)]]
            style = {"marker": "o", "markersize": 4, "capsize": 3, "color": next(colours)}
            axes.errorbar(places, middle, yerr=errors, label=label.format(format=kind), **style)
            if panel.linear and kind == kinds[0] and line == next(iter(panel.lines)):
                fixed = -1 if panel.log else 0  # what is constant matters least at the large end
                ideal = [middle[fixed] * place / places[fixed] for place in places]
                axes.plot(places, ideal, ":", color="black", linewidth=1, label="in proportion")
    ticks = sorted({point["at"] for point in points})
    axes.set_xscale("log")
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", " ")))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_tick_params(which="minor", bottom=False)
    if panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""))
    else:
        axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
    axes.set_ylabel(panel.label)
    axes.grid(True, which="major", color="#dddddd", linewidth=0.7)
    axes.legend(fontsize=8, frameon=False)


def _values(found: Any) -> list[float]:
    return found if isinstance(found, list) else [found]
