"""The recipe's own table, filled on whatever device is there: compile time, seconds a step, images a second.

    python benchmarks/recipe.py                         # prints a table, writes benchmarks/results/recipe.{md,json}
    python benchmarks/recipe.py --device_target Ascend --cards 8 --weight sd_xl_base_1.0.safetensors \\
        --data_path /path/to/pictures --set device.max_memory=59GB

Real runs of ``train.py`` with the configs of ``configs/training``, under ``msrun`` where there are several cards of one
machine. On a CPU the tiny preset trains at 64 x 64 in float32; elsewhere SDXL base at 1024 x 1024 with float16
parameters, as in the recipe's table, and a batch of 1 on each card. Images a second are those that the run logs itself,
over all cards, the first reading left out; seconds a step follow from them. Graph compile is the first dispatch without
the time of its steps. Without ``--data_path``, pictures are drawn; without ``--weight`` the weights are random.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from launch import COLD, Told, draw, train
from report import ROOT, arguments, spread, write

PRESETS = {"tiny": (64, 5), "base": (1024, 100)}
"""Preset -> resolution, and steps in one dispatch of a sink."""


@dataclass(frozen=True)
class Row:
    """What varies in the table."""

    cards: int
    flash: bool
    sink: bool


def rows_for(cards: int, quick: bool) -> list[Row]:
    """The recipe's rows: each switch alone on one card, and nothing or everything on several."""
    if quick:
        return [Row(1, True, False)]
    alone = [Row(1, False, False), Row(1, True, False), Row(1, True, True)]
    return alone + ([Row(cards, False, False), Row(cards, True, True)] if cards > 1 else [])


def settings(given: argparse.Namespace, row: Row, data: Path, save: str) -> list[str]:
    """Arguments of ``train.py``."""
    tiny = "tiny_" if given.preset == "tiny" else ""
    config = ROOT / "configs" / "training" / f"{tiny}sd_xl_base_finetune_910b{'_fa' if row.flash else ''}.yaml"
    every = given.sink_size if row.sink else max(1, given.steps // 4)
    steps = max(1, given.steps // every) * every
    switches = ["no:checkpoint", *(["ddp"] if row.cards > 1 else []), *(["sink"] if row.sink else [])]
    switches += ["fp16"] if given.precision == "fp16" else []
    wanted = {
        "device.target": given.device_target, "device.jit_level": given.jit_level, "data.path": data, "save_path": save,
        "per_batch_size": given.batch, "plugins.sdxl.resolution": given.resolution, "log_interval": every,
        "max_steps": steps, **({"plugins.sink.size": every} if row.sink else {}),
        **({"weight": given.weight} if given.weight else {}),
    }  # fmt: skip
    texts = [f"{name}={value}" for name, value in wanted.items()]
    return ["--config", str(config), "--plugins", ",".join(switches), *texts, *COLD, *given.set]


def figures(told: Told, images: int) -> tuple[float, list[float], list[float]]:
    """Seconds of compiling, seconds a step, and images a second.

    Raises:
        RuntimeError: the run was too short to log a rate.
    """
    if not told.rates:
        raise RuntimeError("the run logged no rate: raise --steps, to at least two dispatches")
    seconds = [images / rate for rate in told.rates]
    return told.compiled - told.first("on_step_end", "steps") * statistics.median(seconds), seconds, told.rates


def complete(given: argparse.Namespace) -> None:
    """Fill in what depends on the device and the preset."""
    cpu = given.device_target == "CPU"
    given.preset = given.preset or ("tiny" if cpu else "base")
    given.precision = given.precision or ("fp32" if cpu else "fp16")
    given.cards = given.cards or (2 if cpu else 8)
    given.jit_level = given.jit_level or ("O0" if cpu else "O2")
    side, sink = PRESETS[given.preset]
    given.resolution, given.sink_size = given.resolution or side, given.sink_size or sink
    given.steps = given.steps or (8 if given.quick else 6 * sink)


def main() -> int:
    """Train every row and write the table; 1 if a row failed."""
    parser = arguments(__doc__)
    parser.add_argument("--device_target", default="CPU", choices=("CPU", "GPU", "Ascend"))
    parser.add_argument("--preset", choices=tuple(PRESETS), help="tiny or base")
    parser.add_argument("--resolution", type=int, help="side of the pictures in pixels")
    parser.add_argument("--batch", type=int, default=1, help="pictures in a step of each card")
    parser.add_argument("--cards", type=int, help="of the rows that have several; 1: no such rows")
    parser.add_argument("--precision", choices=("fp16", "fp32"), help="fp16: parameters of float16")
    parser.add_argument("--jit_level", choices=("O0", "O1", "O2"))
    parser.add_argument("--steps", type=int, help="of each run")
    parser.add_argument("--sink_size", type=int, help="steps in a dispatch, in the rows with sink")
    parser.add_argument("--weight", default="", help="weights to start from; random ones cost as much")
    parser.add_argument("--data_path", type=Path, help="captioned pictures as the format csv takes them")
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="a setting for all rows")
    given = parser.parse_args()
    complete(given)
    rows, failed, best = [], False, 0.0
    with tempfile.TemporaryDirectory() as temporary:
        data = (given.data_path or draw(Path(temporary), 64)).resolve()
        for row in rows_for(given.cards, given.quick):
            side, images = given.resolution, row.cards * given.batch
            sink = f"ON ({given.sink_size})" if row.sink else "OFF"
            about = [
                given.batch,
                f"{side}x{side}",
                given.precision,
                "ON" if row.flash else "OFF",
                sink,
                given.jit_level,
            ]
            print(f"recipe: {row}", file=sys.stderr, flush=True)
            try:
                told = train(settings(given, row, data, temporary), row.cards)
                compiled, seconds, rates = figures(told, images)
            except RuntimeError as error:
                print(error, file=sys.stderr)
                rows.append([row.cards, *about, "failed", "", ""])
                failed = True
                continue
            best = max(best, statistics.median(rates))
            rows.append([row.cards, *about, f"{compiled:.1f}", spread(seconds, 3), spread(rates)])
    model = "SDXL base" if given.preset == "base" else "a tiny SDXL"
    title = f"Full-parameter fine-tuning of {model} on {given.device_target}, {given.steps} steps a row"
    headings = ["cards", "batch size", "resolution", "precision", "flash attention", "sink", "jit level"]
    headings += ["graph compile (s)", "s/step", "img/s"]
    said = f"{model} on {given.device_target}: at most {best:.2f} images/s"
    write("recipe", title, headings, rows, given.out, said)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
