"""Attention in a training step: time and peak memory of plain, chunked and flash attention, with PyTorch beside them.

    python benchmarks/attention.py                      # prints a table, writes benchmarks/results/attention.{md,json}

Each case runs in a process of its own, so that its peak memory is its own: the highest resident size while it runs,
above the size after everything was imported and tried once on 64 tokens. It counts q, k, v, the result's gradient,
everything between, and the gradients. All cases of one size wait for each other and take turns, so that ratios are of
neighbouring runs; what processors spent, all threads together, tells more when others use the machine. PyTorch is left
out when it is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from report import arguments, spread, write
from sides import Waiting

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


def wait_for_turns(kind: str, batch: int, tokens: int) -> None:
    """Be one case: say how much memory a step takes, then measure forward and step once for each line of the input."""

    def case(count: int) -> tuple[Run, Run]:
        arrays = inputs(batch, count)
        return pytorch_case(arrays) if kind == "pytorch" else mindspore_case(kind, arrays)

    for run in case(64):
        run()
    Path("/proc/self/clear_refs").write_text("5")  # start the highest resident size anew
    before = resident("VmRSS")
    forward, both = case(tokens)
    both()
    print(json.dumps({"peak": resident("VmHWM") - before}), flush=True)
    forward()
    for _ in sys.stdin:
        wall, processor = zip(*(timed(run) for run in (forward, both)), strict=True)
        print(json.dumps({"forward": wall[0], "step": wall[1], "processor": processor[1]}), flush=True)


def timed(run: Run) -> tuple[float, float]:
    """Milliseconds, and those of processors."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - processor)


def measure(tokens: int, batch: int, rounds: int) -> list[list[Any]]:
    """The rows of one size; ratios are to the last case."""
    paths = os.pathsep.join(str(ROOT / place) for place in ("core", "plugins/flash_attn"))
    kinds = [kind for kind in LABELS if kind != "pytorch" or find_spec("torch")]
    sides: dict[str, Waiting] = {}
    told: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    try:
        for kind in kinds:
            asked = ("--case", kind, "--batch", str(batch), "--tokens", str(tokens))
            sides[kind] = Waiting(__file__, *asked, paths=paths)
        for _ in range(rounds):
            for kind, side in sides.items():
                told[kind].append(side.ask("go"))
    finally:
        for side in sides.values():
            side.end()
    rows = []
    for kind in kinds:
        columns = {name: [one[name] for one in told[kind]] for name in told[kind][0]}
        ratios = [one["step"] / last["step"] for one, last in zip(told[kind], told[kinds[-1]], strict=True)]
        times = [spread(columns[name], 1) for name in ("forward", "step", "processor")]
        rows.append([f"{tokens} tokens, {LABELS[kind]}", *times, spread(ratios), f"{sides[kind].told['peak']:.0f}"])
    return rows


def main() -> None:
    """Measure every case and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--tokens", type=int, nargs="+")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, help="how often each case has its turn")
    parser.add_argument("--case", choices=LABELS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        wait_for_turns(args.case, args.batch, args.tokens[0])
        return
    sizes, rounds = args.tokens or ([256] if args.quick else [1024, 2048, 4096]), args.rounds
    rounds = rounds or (2 if args.quick else 3)
    rows = [row for tokens in sizes for row in measure(tokens, args.batch, rounds)]
    title = (
        f"Attention with {HEADS} heads of {HEAD_DIM}, batch {args.batch}, float32, {len(os.sched_getaffinity(0))} "
        f"processors: {rounds} turns. A step is forward and backward; ratios of neighbouring steps to the last case."
    )
    headings = ["case", "forward ms", "step ms", "step, processor ms", "step, ratio", "peak MB"]
    kernel = next(row for row in rows[::-1] if LABELS["kernel"] in row[0])
    said = f"a step with {kernel[0]}: {kernel[4].split()[0]} x {rows[-1][0].partition(', ')[2]}, {kernel[5]} MB"
    write("attention", title, headings, rows, args.out, said)


if __name__ == "__main__":
    main()
