"""Which of our cells and parameters is which of the reference's modules and parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from mindloom.cells import GroupNorm
from mindloom_sdxl.layouts.names import PARTS, to_diffusers
from mindloom_sdxl.layouts.tensors import Lazy
from mindloom_sdxl.layouts.text_names import SCALE, to_transformers
from mindloom_sdxl.layouts.unet_names import UNetNames
from mindloom_sdxl.layouts.vae_names import VAENames
from mindspore import nn

from .reference import Arrays, torch
from .trail import Trail, of_mindspore, of_torch, recording

CELLS = {"unet": "model.diffusion_model", "text_encoder": "conditioner.embedders.0.transformer"} | {
    "text_encoder_2": "conditioner.embedders.1.model", "vae": "first_stage_model",
}  # fmt: skip
OTHERWISE = {
    # Ours stop before the last layer, or give two layers' outputs.
    "text_encoder": ("text_model", "text_model.encoder"),
    "text_encoder_2": ("transformer", "ln_final"),
}
"""Cells with the same parameters as a module, whose outputs are not the same: they are compared by hand."""


@dataclass(frozen=True)
class Part:
    """One network on both sides.

    Attributes:
        name: its folder in diffusers' layout.
        ours, theirs: cell and module.
        paths: path of a cell -> paths of the modules that give the same tensor, side by side.
    """

    name: str
    ours: nn.Cell = field(repr=False)
    theirs: Any = field(repr=False)
    paths: dict[str, list[str]] = field(repr=False)

    @contextmanager
    def trails(self) -> Iterator[tuple[Trail, Trail]]:
        """Record both sides; the reference's tensors get our names, and both have those that both have made.

        A norm that is followed by SiLU is one cell with us and two modules with the reference.
        """
        cells, modules = dict(self.ours.cells_and_names()), dict(self.theirs.named_modules())
        with (
            recording({path: cells[path] for path in self.paths}, of_mindspore) as ours,
            recording({other: modules[other] for many in self.paths.values() for other in many}, of_torch) as found,
        ):
            theirs: Trail = {}
            yield ours, theirs
        for path, many in self.paths.items():
            if path in ours and all(other in found for other in many):
                theirs[path] = found[many[0]] if len(many) == 1 else np.concatenate([found[o] for o in many], -1)
                if isinstance(cells[path], GroupNorm) and cells[path].silu:
                    theirs[path] = theirs[path] / (1 + np.exp(-theirs[path]))
            else:
                ours.pop(path, None)

    def renamed(self, arrays: Arrays) -> Arrays:
        """Some of our parameters, or their gradients, in our order under the reference's names and in its shapes."""
        begin = PARTS[self.name][0]
        # All of them, for the structure of the network is read from their names.
        every = {name: arrays.get(name) for name, _ in self.ours.parameters_and_names()}
        lazy = {
            begin + name: Lazy("F32", (3, 1) if value is None else value.shape, partial(given, value))
            for name, value in every.items()
        }
        found = to_diffusers(lazy)[self.name]
        wanted = {other for name in arrays for other in translator(self.name, self.ours)(name)}
        return {spelled(self.theirs, name): found[name].read() for name in found if name in wanted}


def given(value: np.ndarray | None) -> np.ndarray:
    """What is asked for."""
    assert value is not None
    return value


def spelled(theirs: Any, name: str) -> str:
    """Newer transformers name the inner model's parameters without its prefix."""
    return name if hasattr(theirs, "text_model") else name.removeprefix("text_model.")


def pair(model: nn.Cell, pipe: Any, name: str) -> Part:
    """One part of both models. Cells that hold exactly the parameters of one module are taken to be that module."""
    ours, theirs = cell_of(model, CELLS[name]), getattr(pipe, name)
    translate = translator(name, ours)
    known, modules = [parameter for parameter, _ in theirs.named_parameters()], dict(theirs.named_modules())
    paths: dict[str, list[str]] = {}
    for path, cell in ours.cells_and_names():
        # Lists of cells are never called.
        if not path or isinstance(cell, nn.CellList) or path in OTHERWISE.get(name, ()):
            continue
        inside = [f"{path}.{own}" for own, _ in cell.parameters_and_names()]
        mapped = {spelled(theirs, other) for parameter in inside for other in translate(parameter)}
        if found := module_of(mapped, known, modules, innermost=bool(cell._params)):
            paths[path] = [found]
        if name == "text_encoder_2" and found and path.endswith(".attn"):
            paths[f"{path}.affine"] = [f"{found}.{third}_proj" for third in "qkv"]
    return Part(name, ours, theirs, paths)


def module_of(parameters: set[str], known: Iterable[str], modules: Mapping[str, Any], innermost: bool) -> str:
    """The module that holds exactly these parameters, or nothing. Lists of modules are never called."""
    words = min(parameters, default="").split(".")[:-1]
    every = [".".join(words[:length]) for length in range(len(words), 0, -1)]
    found = [
        module
        for module in every
        if not isinstance(modules[module], torch.nn.ModuleList)
        and parameters == {name for name in known if name.startswith(f"{module}.")}
    ]
    return found[0 if innermost else -1] if found else ""


def translator(part: str, cell: nn.Cell) -> Callable[[str], list[str]]:
    """The reference's names of one of our parameters; the packed projection of OpenCLIP has three."""
    names = [name for name, _ in cell.parameters_and_names()]
    if part == "unet":
        unet = UNetNames(names)
        return lambda name: [unet.diffusers(name)]
    if part == "vae":
        vae = VAENames(names)
        return lambda name: [vae.diffusers(name)]
    if part == "text_encoder":
        return lambda name: [name]
    nothing = Lazy("F32", (3, 1), lambda: np.zeros((3, 1), np.float32))
    return lambda name: [] if name == SCALE else list(to_transformers({name: nothing}))


def cell_of(model: nn.Cell, path: str) -> nn.Cell:
    """A cell by its path."""
    return dict(model.cells_and_names())[path]
