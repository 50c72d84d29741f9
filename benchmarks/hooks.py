"""What plugins cost while a run trains: every hook of a dispatch, of all bundled plugins together; and an idle round.

    python benchmarks/hooks.py                          # prints tables, writes benchmarks/results/hooks.{md,json}
    python benchmarks/hooks.py --steps 200 --rounds 2   # a quick look

The toy task trains with every bundled plugin whose hooks are called during dispatches (the script looks them up, and
refuses to run when one is missing), validate and checkpoint between their events. ``sdxl`` listens without its model;
``ddp``, which needs a launcher, has no hook in a dispatch, nor have the others. What is timed are whole rounds, pluggy
and blame included: ``on_step_start`` + ``on_step_end`` of a dispatch, and ``add_metrics`` + ``on_log`` where a log is
due, every 10 dispatches. A case's number is the median over a run's dispatches; runs of all cases take turns, and the
table has the median, the smallest and the largest of those numbers. Records go to a file, or to a pseudo terminal.

The loop's own cost is the time between two dispatches (hooks, counters, records, logging, reading the loss), less that
of a bare ``for`` over the stepper that reads the loss as often. All cases run the same compiled step.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "core"), *map(str, ROOT.glob("plugins/*/")), str(ROOT / "benchmarks")]

from hooks_run import Run, everything, idle  # noqa: E402
from report import LOAD, arguments, write  # noqa: E402
from screens import in_file, on_terminal  # noqa: E402

LOG_INTERVAL = 10
LIMIT = 200
"""Microseconds a dispatch that all bundled plugins together may take."""

Case = tuple[Callable[[], AbstractContextManager[None]], bool, bool]
CASES: dict[str, Case] = {
    "lines": (in_file, True, False),
    "bar": (on_terminal, True, False),
    "core": (in_file, False, False),
    "bare": (in_file, True, True),
}
"""Name -> (where stderr goes, with plugins that have hooks in a dispatch, a bare loop)."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, help="of each run")
    parser.add_argument("--rounds", type=int, help="runs of each case")
    args = parser.parse_args()
    steps, repeats = args.steps or (100 if args.quick else 1000), args.rounds or (1 if args.quick else 5)
    taken: dict[str, list[Run]] = {name: [] for name in CASES}
    rounds: dict[int, list[tuple[float, float]]] = {0: [], 8: []}
    for _ in range(repeats):
        for name, (screen, listening, bare) in CASES.items():
            with tempfile.TemporaryDirectory() as folder, screen():
                taken[name].append(everything(Path(folder), steps, LOG_INTERVAL, listening, bare))
        for plugins, measured in rounds.items():
            measured.append(idle(plugins))
    listening = ", ".join(taken["lines"][0].listening)
    rows = []
    for case, about in {"lines": "lines to a file", "bar": "a live bar on a terminal"}.items():
        runs = taken[case]
        rows += [
            row(f"all plugins, {about}: a dispatch without a log", [run.plain for run in runs]),
            row(f"all plugins, {about}: a dispatch with a log", [run.logged for run in runs]),
            row(f"all plugins, {about}: on average, a log every {LOG_INTERVAL}", [run.average for run in runs]),
            row(f"all plugins, {about}: the same, as a mean with every outlier", [run.mean for run in runs]),
        ]
    rows += [
        row("no plugin: an idle round", [plain for plain, _ in rounds[0]]),
        row("no plugin: an idle round with a log", [logged for _, logged in rounds[0]]),
        row("each idle plugin adds to a round", slopes(rounds, 0)),
        row("each idle plugin adds to a round with a log", slopes(rounds, 1)),
        row("between dispatches, more than a bare for: all plugins", beyond(taken["lines"], taken["bare"])),
        row("between dispatches, more than a bare for: no plugin listening", beyond(taken["core"], taken["bare"])),
        row("(for comparison, a whole dispatch: all plugins)", [run.dispatch for run in taken["lines"]]),
        row("(for comparison, a whole dispatch: a bare for)", [run.dispatch for run in taken["bare"]]),
    ]
    title = (
        f"Time that hooks take: {steps} dispatches of the toy task with {listening}. "
        f"Limit: {LIMIT} microseconds. Load of the machine when this began: {LOAD:.1f}"
    )
    said = f"all bundled plugins together: {rows[2][1]} microseconds a dispatch (limit: {LIMIT})"
    write("hooks", title, ["microseconds a dispatch", "median", "min", "max"], rows, args.out, said)


def row(name: str, values: list[float]) -> list[str]:
    return [name, *(f"{value:.1f}" for value in (statistics.median(values), min(values), max(values)))]


def slopes(rounds: dict[int, list[tuple[float, float]]], which: int) -> list[float]:
    """Microseconds that one more idle plugin takes."""
    return [(many[which] - none[which]) / 8 for none, many in zip(rounds[0], rounds[8], strict=True)]


def beyond(loop: list[Run], bare: list[Run]) -> list[float]:
    """Of runs that took turns."""
    return [one.between - other.between for one, other in zip(loop, bare, strict=True)]


if __name__ == "__main__":
    main()
