"""A task with attention trains to the same losses with and without the plugin, and the log says what was replaced."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mindloom import Plugin
from mindloom.attention import Attention
from mindloom.testing import Fitted, fit
from mindloom_flash_attn import FlashAttn
from mindspore import nn

sys.path.insert(0, str(Path(__file__).parent))
from attentive import Attentive


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
