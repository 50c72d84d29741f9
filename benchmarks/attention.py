"""Attention in a training step: time and peak memory of plain, chunked and flash attention, with PyTorch beside them.

    python benchmarks/attention.py                      # prints a table, writes benchmarks/results/attention.{md,json}

Each case runs in a process of its own, so that its peak memory is its own: the highest resident size while it runs,
above the size after everything was imported and tried once on 64 tokens. It counts q, k, v, the result's gradient,
everything between, and the gradients. Times are the best of several runs; what processors spent, all threads together,
tells more when others use the machine. PyTorch is left out when it is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LABELS = {
    "plain": "plain (MindSpore)",
    "chunked": "flash_attn, chunks",
    "kernel": "flash_attn, kernel",
    "pytorch": "PyTorch SDPA",
}
HEADS, HEAD_DIM = 10, 64
Run = Callable[[], object]


def mindspore_case(kind: str, arrays: list[np.ndarray]) -> tuple[Run, Run]:
    """Return (forward, forward and backward) of one of mindloom's attentions."""
    import mindspore as ms
    from mindloom.attention import Attention
    from mindloom_flash_attn.chunked import ChunkedAttention
    from mindloom_flash_attn.compile import library
    from mindloom_flash_attn.native import NativeAttention
    from mindspore import nn, ops

    plain = Attention(HEADS, HEAD_DIM)
    cell: nn.Cell = plain
    if kind == "chunked":
        cell = ChunkedAttention.like(plain)
    elif kind == "kernel":
        cell = NativeAttention.like(plain, library())
    q, k, v, grad = map(ms.Tensor, arrays)
    gradients = ops.GradOperation(get_all=True, sens_param=True)(cell)

    def forward() -> object:
        return cell(q, k, v).asnumpy()  # reading waits for the result

    def both() -> object:
        return [x.asnumpy() for x in gradients(q, k, v, grad)]

    return forward, both


def pytorch_case(arrays: list[np.ndarray]) -> tuple[Run, Run]:
    """Return (forward, forward and backward) of ``scaled_dot_product_attention`` from and to the layout BSH."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    *inputs, grad = map(torch.from_numpy, arrays)
    q, k, v = (x.requires_grad_() for x in inputs)

    def attend() -> Any:
        heads = [x.unflatten(2, (HEADS, HEAD_DIM)).transpose(1, 2) for x in (q, k, v)]
        return scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)

    def forward() -> object:
        with torch.no_grad():
            return attend()

    def both() -> object:
        return torch.autograd.grad(attend(), (q, k, v), grad)

    return forward, both


def inputs(batch: int, tokens: int) -> list[np.ndarray]:
    """q, k, v and the gradient of the result, in the layout BSH."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal((batch, tokens, HEADS * HEAD_DIM), np.float32) for _ in range(4)]


def resident(field: str) -> float:
    """``VmRSS`` or ``VmHWM`` of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def best(run: Run, seconds: float) -> tuple[float, float]:
    """Shortest time and least processor time of a run in milliseconds, of at least three and as many as fit."""
    times: list[tuple[float, float]] = []
    while len(times) < 3 or sum(wall for wall, _ in times) < seconds:
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(wall for wall, _ in times) * 1000, min(cpu for _, cpu in times) * 1000


def measure(kind: str, batch: int, tokens: int, seconds: float) -> dict[str, Any]:
    """Run one case in this process."""

    def case(count: int) -> tuple[Run, Run]:
        arrays = inputs(batch, count)
        return pytorch_case(arrays) if kind == "pytorch" else mindspore_case(kind, arrays)

    for run in case(64):
        run()
    Path("/proc/self/clear_refs").write_text("5")  # start the highest resident size anew
    before = resident("VmRSS")
    forward, both = case(tokens)
    both()
    peak = resident("VmHWM") - before
    forward()
    forward_ms, _ = best(forward, seconds)
    step_ms, step_cpu_ms = best(both, seconds)
    return {
        "attention": kind,
        "tokens": tokens,
        "batch": batch,
        "forward_ms": round(forward_ms, 2),
        "step_ms": round(step_ms, 2),
        "step_cpu_ms": round(step_cpu_ms, 2),
        "peak_mb": round(peak, 1),
    }


def in_own_process(kind: str, batch: int, tokens: int, seconds: float) -> dict[str, Any]:
    """Run one case in a fresh process."""
    paths = [str(ROOT / "core"), str(ROOT / "plugins" / "flash_attn"), os.environ.get("PYTHONPATH", "")]
    environment = {"GLOG_v": "3", **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    asked = ["--case", kind, "--batch", str(batch), "--tokens", str(tokens), "--seconds", str(seconds)]
    done = subprocess.run(
        [sys.executable, __file__, *asked], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        f"Attention with {HEADS} heads of {HEAD_DIM}, batch {rows[0]['batch']}, float32, "
        f"{len(os.sched_getaffinity(0))} processors. A step is forward and backward.",
        "",
        "| tokens | attention | forward ms | step ms | step, processor ms | peak MB |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        numbers = f"{row['forward_ms']:.1f} | {row['step_ms']:.1f} | {row['step_cpu_ms']:.1f} | {row['peak_mb']:.0f}"
        lines.append(f"| {row['tokens']} | {LABELS[row['attention']]} | {numbers} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every case and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0, help="time spent on each measurement")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the results")
    parser.add_argument("--case", choices=LABELS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args.case, args.batch, args.tokens[0], args.seconds)))
        return
    kinds = [kind for kind in LABELS if kind != "pytorch" or find_spec("torch")]
    rows = [in_own_process(kind, args.batch, tokens, args.seconds) for tokens in args.tokens for kind in kinds]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "attention.json").write_text(json.dumps(rows, indent=1) + "\n")
    (args.out / "attention.md").write_text(table(rows))
    print(table(rows), end="")


if __name__ == "__main__":
    main()
