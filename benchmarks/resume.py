"""How long until a run's first step is done: fresh and resumed, with and without a warm compile cache, and on what.

    python benchmarks/resume.py                         # prints a table, writes benchmarks/results/resume.{md,json}

Real runs of ``train.py`` in processes of their own: the toy task, and the demo's tiny Stable Diffusion XL on drawn
pictures. A plugin (``marks.py``) takes the time when each part of a run is done, from the moment the process is
started: importing the program and its plugins, MindSpore, data, the model with its weights (and the state restored),
compiling with the first step. Cases take turns; where the program has a compile cache, the first fresh run fills it,
so that cold and warm are measured in pairs.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from launch import CACHE, Told, draw, train
from report import ROOT, arguments, spread, write

PARTS = {
    "start, config, plugins": ("", "before make_device"),
    "MindSpore": ("before make_device", "make_world"),
    "data": ("before make_dataset", "make_dataset"),
    "model, weights, state": ("make_dataset", "on_train_start"),
    "compile and first step": ("on_step_start", "on_step_end"),
}
"""Part -> the marks at its begin and end."""
ROUNDS = {"toy": 3, "tiny SDXL": 2}
STEPS = 2


def tasks(folder: Path) -> dict[str, list[str]]:
    """What is trained: arguments of ``train.py``."""
    drawn = draw(folder / "pictures", 24)
    quiet = "no:tensorboard,no:validate,no:console"
    return {
        "toy": ["--plugins", "toy,checkpoint", "data.format=numbers", f"data.path={folder}"],
        "tiny SDXL": [
            *("--config", str(ROOT / "configs" / "demo.yaml"), "--plugins", quiet),
            *(f"data.path={drawn}", f"weight={ROOT / 'plugins/sdxl/mindloom_sdxl/assets/tiny.safetensors'}"),
        ],
    }


def run(asked: list[str], place: Path, cache: str, resume: bool) -> Told:
    """A few steps, with a checkpoint at the end; or from there on."""
    settings = [f"save_path={place}", "save_path_with_time=False", "log_interval=1", "plugins.checkpoint.every=0"]
    settings += [f"stop_at={2 * STEPS if resume else STEPS}", "max_steps=100"]
    settings += [f"device.compile_cache={cache}"] if CACHE else []
    return train([*asked, *settings, *(["--resume", str(place)] if resume else [])])


def measure(asked: list[str], folder: Path, rounds: int) -> dict[str, list[Told]]:
    """Case -> what each run told."""
    found: dict[str, list[Told]] = {}
    for number in range(rounds):
        place, cache = folder / f"run-{number}", str(folder / f"cache-{number}") if CACHE else ""
        found.setdefault("fresh", []).append(run(asked, place, cache, resume=False))
        if CACHE:
            found.setdefault("fresh, cache warm", []).append(run(asked, folder / f"again-{number}", cache, False))
            found.setdefault("resumed, no cache", []).append(run(asked, folder / f"again-{number}", "off", True))
        found.setdefault("resumed, cache warm" if CACHE else "resumed", []).append(run(asked, place, cache, True))
    return found


def seconds(told: Told, begin: str, end: str) -> float:
    """Between two marks; the empty one is the start of the process."""
    return told.took(begin, end) if begin else told.first(end)


def main() -> None:
    """Measure and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, help="runs of each case")
    args = parser.parse_args()
    rows, said = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, asked in tasks(folder).items():
            if args.quick and name != "toy":
                continue
            rounds = args.rounds or (1 if args.quick else ROUNDS[name])
            told = measure(asked, folder / name.replace(" ", "-"), rounds)
            totals = {case: [seconds(one, "", "on_step_end") for one in runs] for case, runs in told.items()}
            for case, runs in told.items():
                parts = [spread([seconds(one, *marks) for one in runs], 1) for marks in PARTS.values()]
                spent = spread([one.first("on_step_end", "cpu") for one in runs], 1)
                pairs = zip(totals[case], totals["fresh"], strict=True)
                ratio = spread([one / fresh for one, fresh in pairs])
                rows.append([f"{name}, {case}", spread(totals[case], 1), ratio, *parts, spent])
            middle = {case: f"{case} {statistics.median(values):.1f} s" for case, values in totals.items()}
            said.append(f"{name}: {', '.join(middle.values())}")
    about = "" if CACHE else "; this version has no compile cache"
    title = f"From the start of the process to the end of the first step, seconds; runs of all cases in turn{about}"
    headings = ["run", "all", "ratio to fresh", *PARTS, "processor s"]
    write("resume", title, headings, rows, args.out, "; ".join(said))


if __name__ == "__main__":
    main()
