"""The kernels of the plugin native beside MindSpore's plain cells and PyTorch, forward and with gradients.

    python benchmarks/kernels.py                        # prints a table, writes benchmarks/results/kernels.{md,json}

All three take turns in one process, so that whatever else the machine does slows all of them; a ratio is the median of
the ratios of neighbouring runs. Sizes are those of a batch of 2 in the UNet's second level. A compiled graph leaves out
what nobody asks for, so with gradients the result of a linear layer or convolution is computed by PyTorch alone. The
optimizer's rows are one update of all parameters: AdamW alone, and with clipping to a global norm. PyTorch is left out
when it is missing; its transformer block is that of diffusers.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from report import arguments, spread, write

ROOT = Path(__file__).resolve().parents[1]
Run = Callable[[], object]
KINDS = ("native", "plain", "torch")
TOKENS, PICTURE, SCORES = (2, 1024, 640), (2, 320, 32, 32), (20, 1024, 1024)
CASES: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]] = {
    "GEGLU": ("GEGLU()", (2, 1024, 5120), (2, 1024, 2560)),
    "GELU": ("GELU()", (2, 1024, 2560), (2, 1024, 2560)),
    "quick GELU": ("QuickGELU()", (2, 77, 3072), (2, 77, 3072)),
    "SiLU": ("SiLU()", PICTURE, PICTURE),
    "layer norm": ("LayerNorm(640)", TOKENS, TOKENS),
    "group norm": ("GroupNorm(32, 320)", PICTURE, PICTURE),
    "group norm, SiLU": ("GroupNorm(32, 320, silu=True)", PICTURE, PICTURE),
    "softmax": ("Softmax()", SCORES, SCORES),
    "linear": ("Dense(640, 640)", TOKENS, TOKENS),
    "linear, wide": ("Dense(640, 5120)", TOKENS, (2, 1024, 5120)),
    "linear, few rows": ("Dense(2048, 640, bias=False)", (2, 77, 2048), (2, 77, 640)),
    "convolution": ("Conv2d(320, 320)", PICTURE, PICTURE),
    "convolution, narrow": ("Conv2d(128, 128)", (2, 128, 32, 32), (2, 128, 32, 32)),
    "transformer block": ("TransformerBlock(640, 2048, 64)", TOKENS, TOKENS),
}
"""Name -> plain cell, shape of its input, shape of its output."""
CONTEXT = (2, 77, 2048)
"""What a transformer block also attends to; it needs no gradient."""
PARAMETERS = [(640, 640)] * 40 + [(5120, 640), (640, 2560)] * 5 + [(640,)] * 100
"""About ten transformer blocks: 41 million numbers."""


def array(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def made(kind: str, text: str) -> Any:
    """The plain cell, or the kernel in its place."""
    import mindspore as ms
    from mindloom import cells
    from mindloom.transformer import TransformerBlock
    from mindloom_native.blocks import NativeTransformerBlock
    from mindloom_native.cells import native
    from mindloom_native.compile import has_products, library
    from mindspore import nn

    class Block(nn.Cell):
        """Of x alone."""

        def __init__(self, block: nn.Cell) -> None:
            super().__init__()
            self.block, self.context = block, ms.Tensor(array(2, CONTEXT))

        def construct(self, x: ms.Tensor) -> ms.Tensor:
            return self.block(x, self.context)

    cell = eval(text, {**vars(cells), "TransformerBlock": TransformerBlock})
    swapped = kind == "native" and (library() if has_products() else sys.exit("this MindSpore has no libdnnl"))
    if type(cell) is TransformerBlock:
        return Block(NativeTransformerBlock(cell, swapped) if swapped else cell)
    return native(cell, swapped) if swapped else cell


def mindspore_cell(kind: str, text: str, x: np.ndarray, grad: np.ndarray) -> tuple[Run, Run]:
    """Return (forward, forward and backward)."""
    import mindspore as ms
    from mindspore import nn, ops

    cell = made(kind, text)
    inputs, params = (ms.Tensor(x), ms.Tensor(grad)), ms.ParameterTuple(cell.trainable_params())
    both = ops.GradOperation(get_all=True, get_by_list=bool(params), sens_param=True)

    class Waiting(nn.Cell):
        """Returns one number more, which is small to read: a call alone does not wait for its results."""

        def __init__(self, gradients: bool) -> None:
            super().__init__()
            self.cell, self.params, self.gradients = cell, params, gradients
            self.both = (both(cell, params) if params else both(cell)) if gradients else None
            self.reshape = ops.Reshape()

        def construct(self, x: ms.Tensor, grad: ms.Tensor) -> tuple[ms.Tensor, tuple[ms.Tensor, ...]]:
            if self.gradients:
                found = self.both(x, grad)
                first = found[0][0] if self.params else found[0]
                found = (*found[0], *found[1]) if self.params else found
            else:
                first = self.cell(x)
                found = (first,)
            return self.reshape(first, (-1,))[0], found

    def run_of(waiting: nn.Cell) -> Run:
        def run() -> object:
            one, everything = waiting(*inputs)
            return one.asnumpy(), everything

        return run

    return run_of(Waiting(False)), run_of(Waiting(True))


def torch_cell(name: str, x: np.ndarray, grad: np.ndarray) -> tuple[Run, Run]:
    """Return (forward, forward and backward)."""
    import torch
    from torch.nn import functional as F

    value, sens = torch.from_numpy(x).requires_grad_(), torch.from_numpy(grad)
    norms = {"layer norm": torch.nn.LayerNorm(640), "group norm": torch.nn.GroupNorm(32, 320)}

    def geglu(x: Any) -> Any:
        left, gate = x.chunk(2, dim=-1)
        return left * F.gelu(gate)

    products = {
        "linear": torch.nn.Linear(640, 640),
        "linear, wide": torch.nn.Linear(640, 5120),
        "linear, few rows": torch.nn.Linear(2048, 640, bias=False),
        "convolution": torch.nn.Conv2d(320, 320, 3, padding=1),
        "convolution, narrow": torch.nn.Conv2d(128, 128, 3, padding=1),
    }
    functions: dict[str, Callable[[Any], Any]] = {
        "GEGLU": geglu,
        "GELU": F.gelu,
        "quick GELU": lambda x: x * torch.sigmoid(1.702 * x),
        "SiLU": F.silu,
        **norms,
        **products,
        "group norm, SiLU": lambda x: F.silu(norms["group norm"](x)),
        "softmax": lambda x: F.softmax(x, -1),
    }
    modules = {**norms, **products, "group norm, SiLU": norms["group norm"]}
    if name == "transformer block":
        from diffusers.models.attention import BasicTransformerBlock

        modules[name] = BasicTransformerBlock(640, 10, 64, cross_attention_dim=CONTEXT[-1], activation_fn="geglu")
        context = torch.from_numpy(array(2, CONTEXT))
        functions[name] = lambda x: modules[name](x, encoder_hidden_states=context)
    inputs = [value, *(modules[name].parameters() if name in modules else ())]

    def forward() -> object:
        with torch.no_grad():
            return functions[name](value)

    return forward, lambda: torch.autograd.grad(functions[name](value), inputs, sens)


def mindspore_update(kind: str, limit: float) -> Run:
    """One update of all parameters by constant gradients."""
    import mindspore as ms
    from mindloom.optim import AdamW, ClipByGlobalNorm
    from mindloom_native.compile import library
    from mindloom_native.optimizer import NativeAdamW
    from mindspore import nn

    class Update(nn.Cell):
        """Clipping, where it is a cell, and update; the gradients are frozen parameters."""

        def __init__(self) -> None:
            super().__init__()
            params = [ms.Parameter(ms.Tensor(array(i, s)), name=f"p{i}") for i, s in enumerate(PARAMETERS)]
            self.gradients = ms.ParameterTuple(
                [ms.Parameter(ms.Tensor(p.asnumpy() * 0.1), name=f"g{i}") for i, p in enumerate(params)]
            )
            self.optimizer: nn.Cell = AdamW(params, (0.9, 0.999), 1e-8, [0.01] * len(params))
            self.clips = ClipByGlobalNorm(limit) if limit and kind == "plain" else None
            if kind == "native":
                self.optimizer = NativeAdamW(self.optimizer, library())
                self.optimizer.clip(limit)

        def construct(self, lr: ms.Tensor) -> ms.Tensor:
            gradients = self.gradients
            if self.clips is not None:
                gradients = self.clips(gradients)
            self.optimizer(lr, gradients)
            return self.optimizer.steps + 0.0

    update, lr = Update(), ms.Tensor(1e-5, ms.float32)
    return lambda: update(lr).asnumpy()


def torch_update(limit: float) -> Run:
    """The same with PyTorch's fastest AdamW."""
    import torch

    params = [torch.nn.Parameter(torch.from_numpy(array(i, shape))) for i, shape in enumerate(PARAMETERS)]
    for param in params:
        param.grad = param.detach() * 0.1
    optimizer = torch.optim.AdamW(params, lr=1e-5, fused=True)

    def run() -> object:
        if limit:
            torch.nn.utils.clip_grad_norm_(params, limit)
        return optimizer.step()

    return run


def measured(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each, taking turns; the first round compiles and warms up."""
    times: dict[str, list[float]] = {kind: [] for kind in runs}
    for _ in range(rounds + 2):
        for kind, run in runs.items():
            time.sleep(0.01)  # threads of the one before stop spinning
            start = time.perf_counter()
            run()
            times[kind].append((time.perf_counter() - start) * 1000)
    return {kind: found[2:] for kind, found in times.items()}


def row(name: str, what: str, times: dict[str, list[float]]) -> list[Any]:
    """Medians with least and most, and ratios."""

    def ratio(other: str) -> str:
        pairs = zip(times["native"], times.get(other, ()), strict=other in times)
        ratios = [one / two for one, two in pairs] if other in times else []
        return f"{statistics.median(ratios):.2f}" if ratios else "-"

    told = (spread(times[kind]) if kind in times else "-" for kind in KINDS)
    return [name, what, *told, ratio("plain"), ratio("torch")]


def rows(rounds: int, only: str) -> Iterator[list[Any]]:
    """Measure every case."""
    with_torch = bool(find_spec("torch") and find_spec("diffusers"))
    for name, (text, shape, out) in CASES.items():
        if only not in name:
            continue
        x, grad = array(0, shape), array(1, out)
        made = {kind: mindspore_cell(kind, text, x, grad) for kind in KINDS[:2]}
        if with_torch:
            made["torch"] = torch_cell(name, x, grad)
        for i, what in enumerate(("forward", "forward and backward")):
            yield row(name, what, measured({kind: runs[i] for kind, runs in made.items()}, rounds))
    for name, limit in (("AdamW", 0.0), ("AdamW, clipping", 1.0)):
        if only not in name:
            continue
        updates = {kind: mindspore_update(kind, limit) for kind in KINDS[:2]}
        if with_torch:
            updates["torch"] = torch_update(limit)
        yield row(name, "update", measured(updates, rounds))


def main() -> None:
    """Measure every kernel and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, help="runs of each")
    parser.add_argument("--only", help="only rows whose name contains this")
    args = parser.parse_args()
    rounds, only = args.rounds or (2 if args.quick else 15), args.only or ("GELU" if args.quick else "")
    sys.path[:0] = [str(ROOT / "core"), str(ROOT / "plugins" / "native")]
    os.environ.setdefault("GLOG_v", "3")
    import mindspore as ms

    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE)
    title = f"Kernels, milliseconds: median (least to most) of {rounds} runs in turn, {os.cpu_count()} processors."
    headings = ["kernel", "what", "native", "MindSpore", "PyTorch", "native / MindSpore", "native / PyTorch"]
    found = list(rows(rounds, only))
    ratios = [float(line[-1]) for line in found if line[1] != "forward" and line[-1] != "-"]
    said = "forward and backward, and updates, native / PyTorch: "
    said += f"{min(ratios):.2f} to {max(ratios):.2f} x" if ratios else "PyTorch is missing"
    write("kernels", title, headings, found, args.out, said)


if __name__ == "__main__":
    main()
