"""How cost grows: with tokens, batch, depth, ranks and the size of the data set; as a table and as pictures.

    python benchmarks/curves.py                         # prints a table, writes benchmarks/results/curves.{md,json}
                                                        # and docs/pictures/performance_*.png
    python benchmarks/curves.py --curves depth          # only these
    python benchmarks/curves.py --paint                 # paints the pictures anew from the JSON

Training steps (forward, backward, AdamW, float32) are those of a small UNet with the plugins native and flash_attn,
each size in a process of its own: tokens and batch with 64 channels and 11 transformer blocks, depth with 32 channels.
The first step counts building and compiling. Ranks are real runs of the tiny Stable Diffusion XL under ``msrun``: on
one machine they share its processors, of which one rank alone can use all. Data sets are real starts of a task that
compiles in a second: a CSV whose rows are all read at the start, and tar shards that no index describes, which are
counted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curves_pictures import CURVES, paint
from curves_runs import Point, be_case, long_list, many_shards, rank_steps, start_on, unet_steps
from report import RESULTS, ROOT, arguments, spread, write
from unet import Workload

COLUMNS = {
    "step": "s a step",
    "processor": "processor s a step",
    "first": "building and first step s",
    "first_processor": "the same, processor s",
    "start": "start to first step s",
    "opened": "opening data s",
    "peak": "peak GB",
    "resident": "GB at the first step",
}
BLOCKS = 6
"""Transformer blocks of the UNet for each unit of depth in its last level: 2 down, 1 middle, 3 up."""


def tokens(steps: int, quick: bool, folder: Path) -> list[Point]:
    """Latents from 8 x 8 to 64 x 64, two in a batch."""
    sides = (8, 16) if quick else (8, 16, 32, 64)
    return [unet_steps(__file__, Workload(64, (0, 1, 1), side), side * side, steps) for side in sides]


def batch(steps: int, quick: bool, folder: Path) -> list[Point]:
    """16 x 16 latents."""
    sizes = (1, 2) if quick else (1, 2, 4, 8)
    return [unet_steps(__file__, Workload(64, (0, 1, 1), 16, size), size, steps) for size in sizes]


def depth(steps: int, quick: bool, folder: Path) -> list[Point]:
    """Transformer blocks in the last level."""
    depths = (1, 2) if quick else (1, 2, 4, 8)
    return [unet_steps(__file__, Workload(32, (0, 0, many), 16), BLOCKS * many, steps) for many in depths]


def ranks(steps: int, quick: bool, folder: Path) -> list[Point]:
    """One rank, and two on the same processors."""
    return [rank_steps(folder, number, steps) for number in (1, 2)]


def dataset(steps: int, quick: bool, folder: Path) -> list[Point]:
    """Lists of up to a million rows, and shards of up to a hundred thousand samples."""
    lists = [10**power for power in ((3, 4) if quick else (3, 4, 5, 6))]
    shards = [10**power for power in ((3,) if quick else (3, 4, 5))]
    runs = 1 if quick else 3
    found = [start_on("csv", long_list(folder, count), count, runs) for count in lists]
    return found + [start_on("wids", many_shards(folder, count), count, 1) for count in shards]


MEASURES: dict[str, Callable[[int, bool, Path], list[Point]]] = {
    "tokens": tokens, "batch": batch, "depth": depth, "ranks": ranks, "dataset": dataset,
}  # fmt: skip


def growth(points: list[Point], what: str) -> float:
    """The power of ``at`` with which a number grows between the last two points."""
    one, two = (statistics.median(point[what]) for point in points[-2:])
    return math.log(two / one) / math.log(points[-1]["at"] / points[-2]["at"])


def table(series: dict[str, list[Point]]) -> list[list[Any]]:
    """A row for every point."""
    rows = []
    for name, points in series.items():
        for point in points:
            cells = [point.get(column, "") for column in COLUMNS]
            told = [cell if cell == "" else spread(cell if isinstance(cell, list) else [cell], 3) for cell in cells]
            rows.append([f"{name} {point.get('format', '')}".strip(), point["at"], *told])
    return rows


def paint_all(series: dict[str, list[Point]], about: str, folder: Path) -> None:
    """A picture for every curve."""
    try:
        for name, points in series.items():
            paint(name, points, about, folder / f"performance_{name}.png")
    except ImportError as error:
        print(f"curves: no pictures: {error}: pip install matplotlib", file=sys.stderr)


def main() -> int:
    """Measure the curves, write the table, and paint; 1 if a curve could not be measured."""
    parser = arguments(__doc__)
    parser.add_argument("--curves", nargs="+", choices=MEASURES, help="only these; others stay as they were measured")
    parser.add_argument("--steps", type=int, help="of each size")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="default: docs/pictures, or beside the results")
    parser.add_argument("--paint", action="store_true", help="measure nothing")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        be_case(args.case)
        return 0
    pictures = args.pictures or (ROOT / "docs" / "pictures" if args.out == RESULTS and not args.quick else args.out)
    file = args.out / "curves.json"
    series: dict[str, list[Point]] = json.loads(file.read_text())["series"] if file.exists() else {}
    failed, about = False, f"{os.cpu_count()} processors"
    if not args.paint:
        chosen = args.curves or (["tokens", "dataset"] if args.quick else list(MEASURES))
        measured = {}
        with tempfile.TemporaryDirectory() as temporary:
            for name in chosen:
                print(f"curves: {name}", file=sys.stderr, flush=True)
                try:
                    measured[name] = MEASURES[name](args.steps or (2 if args.quick else 5), args.quick, Path(temporary))
                except (RuntimeError, SystemExit) as error:  # the other curves are worth having
                    print(f"curves: {name}: {error}", file=sys.stderr)
                    failed = True
        series = {**series, **measured} if args.curves else measured
        powers = {name: growth(series[name], "step") for name in ("tokens", "batch", "depth") if name in series}
        said = ", ".join(f"{name}^{power:.2f}" for name, power in powers.items())
        said = f"at the end of the curves, time of a step grows as {said}" if said else ""
        title = f"How cost grows, {about}"
        write("curves", title, ["curve", "at", *COLUMNS.values()], table(series), args.out, said, series=series)
    paint_all({name: series[name] for name in CURVES if name in series}, about, pictures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
