"""One training step of the UNet beside diffusers' in PyTorch: time, time to the first step, peak memory.

    python benchmarks/unet.py                           # prints a table, writes benchmarks/results/unet.{md,json}
    python benchmarks/unet.py --workloads W1 --kinds native torch

Each side is a process of its own that has built its model and done its first step before the other is started; then
they take turns, one block of steps each, so that whatever else the machine does slows both. A step is forward, backward
and AdamW in float32 on the same inputs: batch 2, context 77 x 2048, vector 2816, and the mean squared error. The time
to the first step begins when everything is imported, and counts building and compiling; a second process of MindSpore's
finds the graph in the compile cache. The peak is the highest resident size of a process. What processors spent on a
step, all threads together, tells more when others use the machine.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from report import arguments, spread, write
from sides import Waiting

ROOT = Path(__file__).resolve().parents[1]
BATCH, TOKENS, CONTEXT, VECTOR, HEAD = 2, 77, 2048, 2816, 64
SIZE_DIM, MULT = 256, (1, 2, 4)
GRAPHS = "BENCHMARK_GRAPHS"
"""Variable that names the folder of compiled graphs; without it they are always compiled."""
Step = Callable[[], float]
KINDS: dict[str, tuple[str, ...] | None] = {
    "native": ("native", "flash_attn"),
    "flash": ("flash_attn",),
    "plain": (),
    "recompute": ("native", "flash_attn", "recompute"),
    "torch": None,
}
"""Who computes, and with which plugins."""


@dataclass(frozen=True)
class Workload:
    """Channels of the first level, depths of the levels, the side of the latents, and how many are in a batch."""

    channels: int
    depths: tuple[int, int, int]
    side: int
    batch: int = BATCH


WORKLOADS = {
    "W0": Workload(32, (0, 1, 1), 16),
    "W1": Workload(128, (0, 1, 2), 32),
    "W2": Workload(64, (0, 1, 2), 64),
    "W3": Workload(64, (0, 2, 10), 32),
    "R1": Workload(64, (0, 2, 2), 96),
}
"""W0 is for trying things out; R1 has many tokens and few parameters."""


def inputs(work: Workload) -> list[np.ndarray]:
    """Latents, timesteps, context, vector and what is to be predicted."""
    rng = np.random.default_rng(0)
    latents = (work.batch, 4, work.side, work.side)
    shapes = [latents, (work.batch, TOKENS, CONTEXT), (work.batch, VECTOR), latents]
    first, context, vector, target = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return [first, np.resize(np.array([10, 700], np.int32), work.batch), context, vector, target]


def mindspore_step(work: Workload, plugins: tuple[str, ...]) -> Callable[[], Step]:
    """Return what builds the step that a run builds with these plugins."""
    sys.path[:0] = [str(ROOT / "core"), *(str(path.parent) for path in (ROOT / "plugins").glob("*/setup.cfg"))]
    import mindspore as ms
    from mindloom.build import alter_model, make_step
    from mindloom.defaults import Defaults
    from mindloom.graphs import GraphCache
    from mindloom.graphs.heap import lean
    from mindloom.graphs.store import Store
    from mindloom.registry import Registry
    from mindloom.schema import Config
    from mindloom.world import World
    from mindloom_flash_attn import FlashAttn
    from mindloom_native import Native
    from mindloom_recompute import Recompute
    from mindloom_sdxl.cells.unet import UNet
    from mindloom_sdxl.presets import UNetConfig
    from mindloom_sdxl.task import LAYERS
    from mindspore import nn, ops
    from omegaconf import OmegaConf

    known = {"native": Native, "flash_attn": FlashAttn, "recompute": Recompute}

    class Loss(nn.Cell):
        """Mean squared error of the prediction."""

        def __init__(self, unet: nn.Cell) -> None:
            super().__init__()
            self.unet, self.mean = unet, ops.ReduceMean()

        def construct(self, latents, timesteps, context, vector, target):  # type: ignore[no-untyped-def]
            error = self.unet(latents, timesteps, context, vector) - target
            return self.mean(error * error)

    def build() -> Step:
        cfg = Config()
        cfg.optim.max_grad_norm = 0.0
        chosen = {name: known[name]() for name in plugins}
        for plugin in chosen.values():
            plugin.cfg = plugin.Config()
        run: Any = SimpleNamespace(cfg=cfg, log=logging.getLogger("benchmark"), averages=None)
        run.plugins = Registry(chosen, Defaults())
        run.device = run.plugins.call("make_device", cfg=cfg)
        unet = UNet(UNetConfig(work.channels, MULT, 2, work.depths, work.depths[-1], HEAD, CONTEXT, VECTOR))

        def blocks() -> list[nn.Cell]:
            return [cell for _, cell in unet.cells_and_names() if isinstance(cell, LAYERS)]

        run.task = SimpleNamespace(model=unet, loss=Loss(unet), cells=(), keep_float32=(), blocks=blocks)
        step = make_step(run, alter_model(run))
        if graphs := os.environ.get(GRAPHS):
            watched: Any = SimpleNamespace(**{**vars(run), "cfg": OmegaConf.structured(cfg), "world": World()})
            GraphCache(watched, Store(Path(graphs))).watch(step)
        lean(step)  # as Run.cache_graphs does both
        lr, columns = ms.Tensor(1e-5, ms.float32), [ms.Tensor(array) for array in inputs(work)]
        return lambda: float(step(lr, *columns)[0].asnumpy())

    return build


def torch_step(work: Workload) -> Callable[[], Step]:
    """Return what builds diffusers' UNet with PyTorch's AdamW."""
    import torch
    from diffusers import UNet2DConditionModel

    sys.path[:0] = [str(ROOT / "core"), str(ROOT / "plugins" / "sdxl")]
    from mindloom_sdxl.layouts import configs
    from mindloom_sdxl.presets import UNetConfig

    def build() -> Step:
        config = UNetConfig(work.channels, MULT, 2, work.depths, work.depths[-1], HEAD, CONTEXT, VECTOR)
        unet = UNet2DConditionModel.from_config(configs.unet(config, SIZE_DIM, work.side))
        unet.train()
        optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-5)
        latents, timesteps, context, vector, target = map(torch.from_numpy, inputs(work))
        added = {"text_embeds": vector[:, : VECTOR - 6 * SIZE_DIM], "time_ids": torch.full((work.batch, 6), 1024.0)}

        def step() -> float:
            optimizer.zero_grad()
            found = unet(latents, timesteps, context, added_cond_kwargs=added).sample
            loss = ((found - target) ** 2).mean()
            loss.backward()
            optimizer.step()
            return float(loss.detach())

        return step

    return build


def work_for(kind: str, work: Workload) -> None:
    """Be one side: say how long the first step took, then do as many steps as each line of the input says."""
    plugins = KINDS[kind]
    build = torch_step(work) if plugins is None else mindspore_step(work, plugins)
    started = time.perf_counter()
    step = build()
    losses = [step()]
    print(json.dumps({"first": time.perf_counter() - started, "loss": losses[0]}), flush=True)
    for line in sys.stdin:
        times, spent = [], time.process_time()
        for _ in range(int(line)):
            started = time.perf_counter()
            losses.append(step())
            times.append(time.perf_counter() - started)
        spent = (time.process_time() - spent) / len(times)
        print(json.dumps({"times": times, "processor": spent, "loss": losses[-1], "peak": peak()}), flush=True)


def peak() -> float:
    """Highest resident size of this process in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024**2 for line in lines if line.startswith("VmHWM"))


class Side(Waiting):
    """A process that does steps when it is told to."""

    def __init__(self, kind: str, workload: str) -> None:
        super().__init__(__file__, "--side", kind, "--workloads", workload)
        self.times: list[float] = []
        self.processor: list[float] = []
        self.peak = 0.0
        self.first = self.told["first"]

    def run(self, steps: int) -> None:
        said = self.ask(steps)
        self.times += said["times"]
        self.processor.append(said["processor"])
        self.peak = said["peak"]


def measure(workload: str, kinds: list[str], blocks: int, steps: int) -> list[list[Any]]:
    """The rows of one workload; ratios are to the last side."""
    sides: dict[str, Side] = {}
    second: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as graphs:
        os.environ[GRAPHS] = graphs  # nothing is kept from one measurement to the next
        try:
            for kind in kinds:
                sides[kind] = Side(kind, workload)
            for side in sides.values():
                side.run(1)
                side.times.clear()
                side.processor.clear()
            for _ in range(blocks):
                for side in sides.values():
                    side.run(steps)
        finally:
            for side in sides.values():
                side.end()
        for kind in kinds:
            if KINDS[kind] is not None:
                again = Side(kind, workload)
                second[kind] = again.first
                again.end()
    last = sides[kinds[-1]]
    found = []
    for kind, side in sides.items():
        ratios = [one / two for one, two in zip(side.times, last.times, strict=True)]
        processor = f"{statistics.median(side.processor):.2f}"
        first = [f"{side.first:.1f}", f"{second[kind]:.1f}" if kind in second else ""]
        told = [spread(side.times), spread(ratios), processor, *first, f"{side.peak:.2f}"]
        found.append([workload, kind, *told])
    return found


def main() -> None:
    """Measure every workload and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["native", "torch"])
    parser.add_argument("--blocks", type=int, help="how often each side has its turn")
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    parser.add_argument("--side", choices=KINDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        work_for(args.side, WORKLOADS[args.workloads[0]])
        return
    workloads, blocks = args.workloads or (["W0"] if args.quick else ["W1", "W2", "W3"]), args.blocks
    blocks = blocks or (2 if args.quick else 5)
    rows = [row for name in workloads for row in measure(name, args.kinds, blocks, args.steps)]
    title = (
        f"One training step of the UNet, float32, batch {BATCH}: {blocks} turns of {args.steps} steps; "
        f"ratios of neighbouring steps to {args.kinds[-1]}."
    )
    headings = ["workload", "who", "step s", "ratio", "processor s", "first step s", "with cache s", "peak GB"]
    ratios = [f"{row[0]} {row[3].split()[0]} x" for row in rows if row[1] == args.kinds[0]]
    said = f"a training step, {args.kinds[0]} / {args.kinds[-1]}: {', '.join(ratios)}"
    write("unet", title, headings, rows, args.out, said)


if __name__ == "__main__":
    main()
