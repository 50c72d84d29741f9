"""A task of norms and activations trains to the same losses with and without the plugin, and the log tells of it."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom import Plugin, cells, hookimpl
from mindloom.attention import Attention
from mindloom.edits import CellEdit
from mindloom.precision import Precision
from mindloom.testing import Fitted, fit
from mindloom.testing.tokens import tokens
from mindloom_native import Native
from mindspore import Parameter, nn
from mindspore import ops as P

TOKENS, WIDTH = 12, 20


class Model(nn.Cell):
    """A transformer block and a group norm over ``[batch, TOKENS, WIDTH]``."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(1)
        self.weight = Parameter(ms.Tensor((rng.standard_normal((WIDTH, 2 * WIDTH)) / 4).astype(np.float32)))
        self.norm, self.gate, self.gelu = cells.LayerNorm(WIDTH), cells.GEGLU(), cells.GELU()
        self.attention, self.groups = Attention(2, WIDTH // 2), cells.GroupNorm(3, TOKENS, silu=True)
        self.matmul, self.reshape = P.MatMul(), P.Reshape()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        mixed = self.matmul(self.reshape(self.norm(x), (-1, WIDTH)), self.weight)
        gated = self.gelu(self.gate(self.reshape(mixed, (-1, TOKENS, 2 * WIDTH))))
        return self.groups(self.attention(x, gated, gated) + gated)


Blocks = tokens(Model, TOKENS, WIDTH)


class Halved(Plugin):
    """Stores and computes in float16."""

    @hookimpl
    def make_precision(self) -> Precision:
        """Norms too."""
        return Precision("float16", "float16")


class Swap(Plugin):
    """Claims attention and all layer norms for itself."""

    @hookimpl
    def edit_model(self) -> list[CellEdit]:
        """Claim."""

        def build(name: str, cell: Any) -> nn.Cell:
            return cell

        return [CellEdit(lambda name, cell: isinstance(cell, Attention | cells.LayerNorm), build, "as they were")]


def train(folder: Path, *others: type[Plugin], **settings: Any) -> Fitted:
    return fit(folder, {"toy": Blocks, **{other.__name__.lower(): other for other in others}}, steps=6, **settings)


@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 2}, {"optim": {"max_grad_norm": 0}}])
def test_losses_norms_and_weights_are_those_of_a_run_without(tmp_path: Path, settings: dict[str, Any]) -> None:
    plain = train(tmp_path / "plain", **settings)
    native = train(tmp_path / "native", Native, **settings)
    assert len(plain.losses) == 6
    assert plain.losses[-1] < plain.losses[0]
    np.testing.assert_allclose(native.losses, plain.losses, rtol=1e-5)
    assert list(native.weights) == list(plain.weights)
    for name, weight in plain.weights.items():
        np.testing.assert_allclose(native.weights[name], weight, atol=1e-5, err_msg=name)
    for ours, theirs in zip(native.records, plain.records, strict=True):
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)


def test_the_log_tells_what_was_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, Native)
    assert "native replaced 5 cells: C++ kernels" in caplog.text
    assert "native updates 5 parameters in one pass" in caplog.text


def test_a_checkpoint_does_not_belong_to_the_plugin(tmp_path: Path) -> None:
    found = train(tmp_path, Native)
    assert found.plugins["recorder"].run.altered_by == []  # type: ignore[attr-defined]


def test_parts_can_be_switched_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path / "one", Native, plugins={"native": {"cells": False}})
    assert "native replaced" not in caplog.text
    assert "in one pass" in caplog.text
    caplog.clear()
    train(tmp_path / "other", Native, plugins={"native": {"optimizer": False}})
    assert "native replaced" in caplog.text
    assert "in one pass" not in caplog.text


def test_it_gives_way_to_whoever_else_wants_a_cell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, Swap, Native)
    assert "swap replaced 2 cells: as they were" in caplog.text
    assert "native replaced 3 cells" in caplog.text  # not the layer norm, nor the softmax inside the attention


def test_a_model_in_float16_keeps_its_own_update_and_trains(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = train(tmp_path / "plain", Halved)
    native = train(tmp_path / "native", Halved, Native)
    assert "native leaves AdamW plain: 5 of 5 parameters are not float32" in caplog.text
    np.testing.assert_allclose(native.losses, plain.losses, rtol=2e-2)


def test_without_a_compiler_everything_stays_plain_and_one_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(tmp_path / "plain")
    monkeypatch.setenv("CXX", "/nonexistent")
    native = train(tmp_path / "native", Native)
    assert native.losses == plain.losses
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len([text for text in warnings if "no C++ kernels" in text and "/nonexistent" in text]) == 1
    assert "native replaced" not in caplog.text


@pytest.mark.parametrize("target", ["Ascend", "GPU"])
def test_on_other_devices_it_says_that_it_does_nothing(target: str, caplog: pytest.LogCaptureFixture) -> None:
    run: Any = SimpleNamespace(device=SimpleNamespace(target=target), log=logging.getLogger("test"))
    caplog.set_level(logging.INFO)
    plugin = Native()
    assert plugin.edit_model(run, Model()) == []
    assert [record.getMessage() for record in caplog.records] == [
        f"native does nothing on {target}: its kernels are for a CPU"
    ]
