"""Loading weights of the base model: peak memory and time for each layout, into parameters of float16.

    python benchmarks/weights.py                # prints a table, writes benchmarks/results/weights.{md,json}
    python benchmarks/weights.py --on /big/disk # makes the files there; they are sparse and take no room
    python benchmarks/weights.py --all          # two layouts more, whose files the same code reads

The files hold zeros only and no blocks on the disk: names, shapes, dtypes and lengths are those of the released model,
so that memory is what it would be. The time is that of everything but the disk. Each case runs in a process of its own,
whose peak resident memory is that of Python and MindSpore too. It takes 10 GB of memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PATHS = [str(ROOT / "core"), str(ROOT / "plugins" / "sdxl"), str(ROOT / "benchmarks")]
sys.path[:0] = PATHS

from mindloom_sdxl.layouts import mindspore_file, names, safe, shapes  # noqa: E402
from mindloom_sdxl.layouts.tensors import Lazy, Tensors  # noqa: E402
from mindloom_sdxl.presets import BASE  # noqa: E402
from report import arguments, write  # noqa: E402

LIMIT = 1.3
"""Peak memory allowed, in sizes of the model in float16."""
LOAD = """
import json, resource, sys, time
from pathlib import Path
import mindspore as ms
from mindspore.nn.utils import no_init_parameters
from mindloom_sdxl.cells.model import SDXLModel
from mindloom_sdxl.presets import BASE
from mindloom_sdxl.weights import load_weights
with no_init_parameters():
    model = SDXLModel(BASE)
for parameter in model.get_parameters():
    parameter.set_dtype(ms.float16)
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
load_weights(model, Path(sys.argv[1]))
taken = time.perf_counter() - started
size = sum(parameter.nbytes for parameter in model.get_parameters())
assert all(parameter.dtype == ms.float16 and not parameter.has_init for parameter in model.get_parameters())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": taken, "size": size, "before": 1024 * before, "peak": 1024 * peak}))
"""


def tensors(dtype: str) -> Tensors:
    """The base model's, which nobody reads here."""
    return {name: Lazy(dtype, shape, lambda: np.empty(0)) for name, shape in shapes.of(BASE).items()}


def sparse_safetensors(path: Path, found: Tensors) -> None:
    """A file whose data are a hole."""
    text, _ = safe.head(found, {})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    os.truncate(path, len(text) + sum(tensor.nbytes for tensor in found.values()))


def single(folder: Path, dtype: str) -> Path:
    """The official single file."""
    sparse_safetensors(folder / "single.safetensors", tensors(dtype))
    return folder / "single.safetensors"


def diffusers(folder: Path, dtype: str) -> Path:
    """The diffusers folder."""
    for part, found in names.to_diffusers(tensors(dtype)).items():
        sparse_safetensors(folder / "diffusers" / part / "model.safetensors", found)
    return folder / "diffusers"


def ckpt(folder: Path, dtype: str) -> Path:
    """The reference recipe's file."""
    path = folder / "weights.ckpt"
    with path.open("wb") as file:
        for name, tensor in names.to_mindspore(tensors(dtype)).items():
            file.write(mindspore_file.head(name, tensor, tensor.nbytes))
            file.seek(tensor.nbytes, os.SEEK_CUR)
        file.truncate()
    return path


CASES: list[tuple[str, Callable[[Path, str], Path], str]] = [
    ("single file", single, "F32"),
    ("single file", single, "BF16"),
    ("MindSpore .ckpt", ckpt, "F32"),
]
MORE: list[tuple[str, Callable[[Path, str], Path], str]] = [
    ("single file", single, "F16"),
    ("diffusers folder", diffusers, "F32"),
]


def measure(make: Callable[[Path, str], Path], dtype: str, place: Path) -> tuple[float, dict[str, float]]:
    """Bytes of the files, and what a process says that loaded them."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        path = make(Path(folder), dtype)
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS), "GLOG_v": "3"}
        done = subprocess.run(
            [sys.executable, "-c", LOAD, str(path)], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return sum(file.stat().st_size for file in files), json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    """Measure and write the table; the exit code is 1 if a case takes too much."""
    parser = arguments(__doc__)
    parser.add_argument("--on", type=Path, default=Path(tempfile.gettempdir()), help="where the sparse files are made")
    parser.add_argument("--all", action="store_true", help="layouts, too, that differ little")
    args = parser.parse_args()
    cases = MORE[:1] if args.quick else [*CASES, *(MORE if args.all else [])]
    rows, worst = [], 0.0
    for name, make, dtype in cases:
        began = time.monotonic()
        held, told = measure(make, dtype, args.on)
        ratio = told["peak"] / told["size"]
        worst = max(worst, ratio)
        gigabytes = [f"{number / 1e9:.2f}" for number in (held, told["size"], told["before"], told["peak"])]
        rows.append([f"{name}, {dtype}", *gigabytes, f"{ratio:.2f}", f"{told['seconds']:.0f}"])
        print(f"{name}, {dtype}: {ratio:.2f} in {time.monotonic() - began:.0f} s", file=sys.stderr)
    headings = ["files", "GB on disk", "GB of the model", "GB before", "GB at the peak", "peak / model", "seconds"]
    title = f"Loading SDXL base into float16 parameters (sparse files; the peak may be {LIMIT} models)"
    said = f"peak while loading SDXL base in float16: at most {worst:.2f} models (limit: {LIMIT})"
    write("weights", title, headings, rows, args.out, said)
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
