"""A task with attention trains to the same losses with and without the plugin, and the log says what was replaced."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom import Plugin, hookimpl
from mindloom.attention import Attention
from mindloom.task import Draw, Sample, Task
from mindloom.testing import Fitted, fit
from mindloom_flash_attn import FlashAttn
from mindspore import Parameter, nn
from mindspore import ops as P

TOKENS, HEADS, WIDTH = 20, 2, 32


class Model(nn.Cell):
    """Self-attention over ``[batch, TOKENS, WIDTH]`` with trained projections."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(1)
        self.weight = Parameter(ms.Tensor((rng.standard_normal((WIDTH, 3 * WIDTH)) / 4).astype(np.float32)))
        self.attention = Attention(HEADS, WIDTH // HEADS)
        self.matmul, self.split, self.reshape = P.MatMul(), P.Split(2, 3), P.Reshape()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        mixed = self.matmul(self.reshape(x, (-1, WIDTH)), self.weight)
        q, k, v = self.split(self.reshape(mixed, (-1, TOKENS, 3 * WIDTH)))
        return self.attention(q, k, v)


class Loss(nn.Cell):
    """Mean squared error against the tokens in reverse order."""

    def __init__(self, model: nn.Cell) -> None:
        super().__init__()
        self.model, self.mean, self.reverse = model, P.ReduceMean(), P.ReverseV2([1])

    def construct(self, tokens: ms.Tensor) -> ms.Tensor:
        error = self.model(tokens) - self.reverse(tokens)
        return self.mean(error * error)


class AttentionTask(Task):
    """Random tokens."""

    columns = ("tokens",)

    def __init__(self) -> None:
        self.model = Model()
        self.loss = Loss(self.model)

    def transform(self, sample: Sample, draw: Draw) -> dict[str, np.ndarray]:
        return {"tokens": draw("tokens").standard_normal((TOKENS, WIDTH), np.float32)}

    def load_weights(self, path: Path) -> None:
        raise NotImplementedError


class Attentive(Plugin):
    """Offers samples and a task, in the place of the kit's toy."""

    @hookimpl
    def make_task(self) -> Task:
        """A fresh task."""
        return AttentionTask()

    @hookimpl
    def add_formats(self) -> dict[str, Any]:
        """Only numbers."""
        from mindloom.testing import Numbers

        return {"numbers": lambda path, world: Numbers(12)}


def train(folder: Path, *others: type[Plugin], **settings: Any) -> Fitted:
    named = {"toy": Attentive, **({"flash_attn": FlashAttn} if others else {})}
    return fit(folder, named, steps=6, **settings)


@pytest.mark.parametrize("kernel", [True, False])
def test_losses_and_weights_are_those_of_plain_attention(tmp_path: Path, kernel: bool) -> None:
    plain = train(tmp_path / "plain")
    flash = train(tmp_path / "flash", FlashAttn, plugins={"flash_attn": {"kernel": kernel}})
    assert len(plain.losses) == 6
    assert plain.losses[-1] < plain.losses[0]
    np.testing.assert_allclose(flash.losses, plain.losses, rtol=1e-5)
    assert list(flash.weights) == list(plain.weights)


def test_the_receipt_tells_what_was_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, FlashAttn)
    assert "flash_attn replaced 1 cells: memory linear in tokens, C++ kernel" in caplog.text


def test_without_a_compiler_it_runs_in_chunks_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    assert train(tmp_path, FlashAttn).exit_code == 0
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len([text for text in warnings if "no C++ kernel" in text and "/nowhere/g++" in text]) == 1


def test_ascend_takes_what_fits_and_says_what_does_not(caplog: pytest.LogCaptureFixture) -> None:
    run: Any = SimpleNamespace(device=SimpleNamespace(target="Ascend"), log=logging.getLogger("test"))
    caplog.set_level(logging.INFO)
    model = nn.CellList([Attention(2, 64), Attention(2, 40), Attention(4, 40)])
    (edit,) = FlashAttn().edit_model(run, model)
    assert [name for name, cell in model.cells_and_names() if edit.match(name, cell)] == ["0"]
    assert "leaves 2 cells plain: head_dim 40 is not a multiple of 16" in caplog.text
    assert "float32 inputs stay plain" in edit.why
    replaced = edit.build("0", model[0])
    assert replaced is not None
    assert (replaced.heads, replaced.head_dim) == (2, 64)
