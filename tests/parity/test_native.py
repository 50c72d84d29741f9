"""The UNet with the plugin native against diffusers: outputs, and every gradient, as close as without it."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mindloom.build import name_parameters
from mindloom.edits import apply
from mindloom_native import Native
from mindloom_native.blocks import NativeTransformerBlock
from mindloom_native.cells import NativeConv2d, NativeDense, NativeGroupNorm

from .gradients import assert_same_gradients
from .pairing import pair
from .reference import normal, read
from .test_unet import BATCH, SIDE, Whole, call, inputs


@pytest.fixture(scope="module")
def swapped(folder: Path) -> Any:
    """The model that diffusers saved, with what the plugin puts into it."""
    model, plugin = read(folder), Native()
    plugin.cfg = Native.Config()
    run: Any = SimpleNamespace(device=SimpleNamespace(target="CPU"), log=logging.getLogger("test"))
    apply([model], [("native", edit) for edit in plugin.edit_model(run, model)], run.log)
    name_parameters(model)  # as a run does it behind all edits
    return model


def test_outputs_and_gradients_equal_diffusers(swapped: Any, pipe: Any, graph: None) -> None:
    kinds = {type(cell) for _, cell in swapped.unet.cells_and_names()}
    assert {NativeTransformerBlock, NativeConv2d, NativeDense, NativeGroupNorm} <= kinds
    part = pair(swapped, pipe, "unet")
    weights = [normal(4, BATCH, 4, SIDE, SIDE)]
    assert_same_gradients(part, Whole(swapped), lambda *given: call(part.theirs, *given), inputs(), weights)
