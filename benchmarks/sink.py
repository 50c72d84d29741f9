"""Dispatch overhead: what a step costs beyond its arithmetic, one dispatch a step against many steps in one dispatch.

    python benchmarks/sink.py                           # prints a table, writes benchmarks/results/sink.{md,json}

The model is so small that nearly all its time is overhead: Python, the loop's hooks, and handing tensors over. All
cases run in one process, in turn, several times; the table has medians with the smallest and largest value.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "core"), str(ROOT / "plugins/sink"), str(ROOT / "benchmarks")]

from mindloom import Plugin, hookimpl  # noqa: E402
from mindloom.testing import fit  # noqa: E402
from mindloom_sink import Sink  # noqa: E402
from report import arguments, spread, write  # noqa: E402


class Watch(Plugin):
    """Times the dispatches after the first, which compiles."""

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.marks: list[tuple[int, float]] = []

    @hookimpl
    def on_step_end(self, run: Any, result: Any) -> None:
        """Wait for the device, then look at the clock."""
        result.loss.asnumpy()
        self.marks.append((run.step, time.perf_counter()))

    @property
    def milliseconds(self) -> float:
        """Of one step."""
        (first, began), (last, ended) = self.marks[0], self.marks[-1]
        return 1000 * (ended - began) / (last - first)


def measure(size: int, steps: int) -> float:
    """Milliseconds a step with ``size`` steps in a dispatch; 0 is the core's own stepper."""
    plugins: dict[str, type[Plugin]] = {"watch": Watch, **({"sink": Sink} if size else {})}
    settings: dict[str, Any] = {"plugins": {"toy": {"samples": 4 * steps}}, "log_interval": steps}
    if size:
        settings["plugins"]["sink"] = {"size": size}
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(Path(folder), plugins, steps=steps, **settings)
    watch = fitted.plugins["watch"]
    assert isinstance(watch, Watch)
    return watch.milliseconds


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, help="of each run")
    parser.add_argument("--rounds", type=int, help="runs of each case")
    args = parser.parse_args()
    steps, rounds = args.steps or (100 if args.quick else 1000), args.rounds or (1 if args.quick else 5)
    sizes = (0, 10) if args.quick else (0, 1, 10, 50, 100)
    taken: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            taken[size].append(measure(size, steps))
    ratios = {size: [one / two for one, two in zip(found, taken[0], strict=True)] for size, found in taken.items()}
    rows = [
        [f"sink, {size} steps a dispatch" if size else "no sink", spread(values, 3), spread(ratios[size])]
        for size, values in taken.items()
    ]
    title = f"Dispatch overhead of a step (a linear model of 5 parameters, CPU): {rounds} runs of {steps} steps in turn"
    last = statistics.median(ratios[sizes[-1]])
    said = f"{sizes[-1]} steps in a dispatch: a step takes {last:.2f} x the time of one without sink"
    write("sink", title, ["driver", "ms a step", "ratio to no sink"], rows, args.out, said)


if __name__ == "__main__":
    main()
