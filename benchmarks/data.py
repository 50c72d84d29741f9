"""The data plane: images a second from 1 MB JPEGs of about 1500 x 1500 to uint8 [3, 1024, 1024] in batches.

    python benchmarks/data.py                   # prints a table, writes benchmarks/results/data.{md,json}
    python benchmarks/data.py --data FOLDER     # keeps the pictures there, or takes them from there

What is measured is the core's own pipeline over each format, with a task that only frames the picture. Beside it stand
the limit, which is Pillow in a loop (decode, resize, crop: no batches, no format), and webdataset's loader with
torch's DataLoader and the same arithmetic. What starts slowly, such as processes, is started before the clock is.
Rounds alternate, and the limit on two threads is measured before and after everything else: ratios are taken between
neighbours, so that other work on the machine weighs on both sides. Processor time tells more than the clock when there
is much of it; that of other processes is not known here.
"""

from __future__ import annotations

import io
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FORMATS = {"csv": "list", "webdataset": "shards", "wids": "shards"}
sys.path[:0] = [str(ROOT / "core"), str(ROOT / "benchmarks"), *(str(ROOT / "plugins" / name) for name in FORMATS)]

from mindloom.data.opening import make_pipeline  # noqa: E402
from mindloom.framing import frame  # noqa: E402
from mindloom.layers import Layers  # noqa: E402
from mindloom.run import Run  # noqa: E402
from mindloom.session import configure  # noqa: E402
from mindloom.task import Draw, Sample, Task  # noqa: E402
from mindloom.world import World  # noqa: E402
from mindloom_csv import Csv  # noqa: E402
from mindloom_webdataset import Webdataset  # noqa: E402
from mindloom_wids import Wids  # noqa: E402
from report import arguments, write  # noqa: E402

SIDE, BATCH = 1024, 4
PLUGINS: dict[str, Any] = {"csv": Csv, "webdataset": Webdataset, "wids": Wids}
LIMIT = "Pillow in a loop, 2 threads"
Pass = Callable[[], int]
"""Goes over the data once and returns how many pictures there were."""


class Framing(Task):
    """A task that only frames its pictures."""

    columns = ("pixels",)

    def transform(self, sample: Sample, draw: Draw) -> dict[str, np.ndarray]:
        """One column, uint8 ``[3, 1024, 1024]``."""
        return {"pixels": frame(sample["image"], SIDE, SIDE, draw).pixels}

    def load_weights(self, path: Path) -> None:
        raise AssertionError("there is no model")


def mindloom_pass(kind: str, data: Path, workers: int, decoder: str) -> Pass:
    """The core's pipeline over a format."""
    layers = Layers()
    settings = {"path": str(data / FORMATS[kind]), "workers": workers, "decoder": decoder}
    layers.set({"per_batch_size": BATCH, "data": settings}, "benchmark")
    cfg, registry = configure(layers, {kind: PLUGINS[kind]})
    run = Run(cfg, registry, logging.getLogger("mindloom"), data)
    run.world, run.task = World(), Framing()
    dataset = make_pipeline(run)

    def once() -> int:
        steps = dataset.samples // BATCH
        return sum(batch.columns[0].shape[0] for batch in dataset.batches(0, steps))

    return once


def framed(image: Image.Image) -> np.ndarray:
    """What the pipeline does to a picture, with Pillow and nothing else: uint8 ``[1024, 1024, 3]``."""
    scale = SIDE / min(image.size)
    width, height = (max(SIDE, round(side * scale)) for side in image.size)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    resized = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    return resized[top : top + SIDE, left : left + SIDE]


def load(path: Path) -> int:
    """Read, decode and frame one file."""
    return int(framed(Image.open(io.BytesIO(path.read_bytes()))).shape[0] == SIDE)


def limit_pass(data: Path, pool: Executor | None) -> Pass:
    """Pillow over the files, in this thread or in a pool."""
    paths = sorted((data / "list").glob("*.jpg"))
    apply: Callable[..., Iterator[int]] = pool.map if pool else map
    return lambda: sum(apply(load, paths))


def torch_pass(data: Path, workers: int) -> Pass:
    """webdataset's own loader in torch's DataLoader; its processes live on between passes."""
    import webdataset
    from torch.utils.data import DataLoader

    warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes to it
    urls = [str(path) for path in sorted((data / "shards").glob("*.tar"))]
    shards = webdataset.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple("jpg", "json")
    dataset = shards.map_tuple(framed, lambda record: record["text"])
    loader = DataLoader(dataset, batch_size=BATCH, num_workers=workers, persistent_workers=True)
    return lambda: sum(pixels.shape[0] for pixels, _ in loader)


def cases(data: Path, held: ExitStack) -> dict[str, Pass]:
    """Everything measured, by name."""
    threads = held.enter_context(ThreadPoolExecutor(2))
    processes = held.enter_context(ProcessPoolExecutor(2, get_context("spawn")))
    found = {
        "Pillow in a loop, 1 thread": limit_pass(data, None),
        LIMIT: limit_pass(data, threads),
        "Pillow in a loop, 2 processes": limit_pass(data, processes),
    }
    if find_spec("torch"):
        for workers in (1, 2):
            found[f"webdataset and DataLoader, workers {workers}"] = torch_pass(data, workers)
    for decoder in ("pillow", "vips") if find_spec("pyvips") else ("pillow",):
        for kind in FORMATS:
            for workers in (1, 2):
                found[f"mindloom {kind}, {decoder}, workers {workers}"] = mindloom_pass(kind, data, workers, decoder)
    return found


def rate(once: Pass, count: int) -> tuple[float, float]:
    """Images a second of one pass over all of the data, and this process's processor milliseconds an image."""
    started, cpu = time.perf_counter(), time.process_time()
    seen = once()
    taken, spent = time.perf_counter() - started, time.process_time() - cpu
    if seen != count:
        raise RuntimeError(f"{seen} pictures came out of {count}")
    return seen / taken, 1000 * spent / seen


def measure(data: Path, count: int, rounds: int) -> dict[str, list[tuple[float, float, float]]]:
    """Of every case and round: images a second, processor milliseconds an image, ratio to the limit."""
    with ExitStack() as held:
        todo = cases(data, held)
        limit = todo.pop(LIMIT)
        for once in (limit, *todo.values()):
            once()
        taken: dict[str, list[tuple[float, float, float]]] = {LIMIT: [], **{name: [] for name in todo}}
        for _ in range(rounds):
            before = rate(limit, count)
            for name, once in todo.items():
                mine, after = rate(once, count), rate(limit, count)
                taken[name].append((*mine, 2 * mine[0] / (before[0] + after[0])))
                taken[LIMIT].append((*after, 1.0))
                before = after
    return taken


def row(name: str, values: list[tuple[float, float, float]]) -> list[str]:
    """Medians of a case, and how far its speeds spread."""
    speeds, spent, ratios = zip(*values, strict=True)
    elsewhere = "processes" in name or "DataLoader" in name
    return [
        name,
        f"{statistics.median(speeds):.1f}",
        f"{min(speeds):.1f} - {max(speeds):.1f}",
        "" if elsewhere else f"{statistics.median(spent):.1f}",
        f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f} - {max(ratios):.2f}",
    ]


def main() -> None:
    """Measure and write the table."""
    from photos import prepare

    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, help="folder of the pictures; without it they are made and thrown away")
    parser.add_argument("--images", type=int)
    parser.add_argument("--rounds", type=int)
    args = parser.parse_args()
    images, rounds = args.images or (8 if args.quick else 64), args.rounds or (1 if args.quick else 3)
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or Path(folder)
        prepare(data, images)
        taken = measure(data, images, rounds)
    rows = [row(name, values) for name, values in taken.items()]
    title = f"From JPEG to {SIDE} x {SIDE}: {images} pictures of 1 MB and about 1500 x 1500, {rounds} rounds"
    headings = ["loader", "images/s", "from - to", "processor ms an image", f"ratio to {LIMIT}", "ratio from - to"]
    best = max((row for row in rows if row[0].startswith("mindloom")), key=lambda row: float(row[4]))
    said = f"{best[0]}: {best[1]} images/s, {best[4]} x the speed of {LIMIT}"
    write("data", title, headings, rows, args.out, said)


if __name__ == "__main__":
    main()
