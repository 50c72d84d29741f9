"""``mindloom check``: what compiles is accepted with figures, what does not is refused in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mindloom import cli

pytestmark = pytest.mark.together

Check = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[1]

SEEING = """
import mindspore as ms
import numpy as np
from mindloom import Plugin, hookimpl
from mindloom.attention import Attention
from mindloom.task import Task
from mindspore import Parameter, nn
from mindspore import ops as P
from mindspore.common.initializer import initializer


class Model(nn.Cell):
    def __init__(self):
        super().__init__()
        self.weight = Parameter(initializer("zeros", (64, 64), ms.float32))
        self.attention, self.mean = Attention(4, 16), P.ReduceMean()

    def construct(self, x):
        x = P.matmul(x, self.weight)
        return self.mean(self.attention(x, x, x))


class Seeing(Task):
    columns = ("x",)

    def __init__(self):
        self.model = self.loss = Model()

    def transform(self, sample, draw):
        pixels = sample["image"].pixels()[:, :, 0].astype(np.float32)
        assert pixels.shape == (64, 64) and sample["caption"]
        return {"x": pixels}

    def load_weights(self, path):
        raise AssertionError("a check reads no weights")


class See(Plugin):
    "One attention over the rows of a picture."

    @hookimpl
    def make_task(self):
        return Seeing()
"""

FLASH = """
import mindspore as ms
from mindloom import Plugin, hookimpl
from mindloom.attention import Attention
from mindloom.edits import CellEdit
from mindspore.ops.operations.nn_ops import FlashAttentionScore


class Cell(Attention):
    def __init__(self, heads, head_dim):
        super().__init__(heads, head_dim)
        self.flash = FlashAttentionScore({arguments}, scale_value=self.scale)

    def construct(self, q, k, v):
        q, k, v = q.astype(ms.float16), k.astype(ms.float16), v.astype(ms.float16)
        return self.flash(q, k, v, None, None, None, None, None, None, None)[3].astype(ms.float32)


class Flash(Plugin):
    "Attention by the fused kernel."

    @hookimpl
    def edit_model(self):
        return [CellEdit(lambda _, cell: type(cell) is Attention, lambda _, cell: Cell(cell.heads, cell.head_dim), "")]
"""

ODD = """
from mindloom import Plugin, hookimpl
from mindspore import nn
from mindspore import ops as P


class Cell(nn.Cell):
    def __init__(self):
        super().__init__()
        self.status = P.NPUClearFloatStatus()

    def construct(self, gradients):
        return (gradients[0] + self.status(P.zeros(8))[0],)


class Odd(Plugin):
    "An operator that nobody said the device has."

    @hookimpl
    def add_grad_ops(self):
        return [Cell()]
"""


@pytest.fixture
def check(capfd: pytest.CaptureFixture[str]) -> Check:
    """Run ``mindloom check`` in this process; return exit code, report and last line of complaint."""

    def run(*argv: str) -> tuple[int, str, str]:
        code = cli.main(["check", "--device_target", "Ascend", *argv])
        out, err = capfd.readouterr()
        assert "Traceback (most" not in err
        return code, out.strip(), (err.strip().splitlines() or [""])[-1]

    return run


@pytest.fixture(autouse=True)
def plugins() -> None:
    """Plugin files in the working folder."""
    Path("see.py").write_text(SEEING)
    Path("odd.py").write_text(ODD)


def flash(arguments: str) -> str:
    """A plugin file of the fused kernel with these arguments."""
    Path("flash.py").write_text(FLASH.replace("{arguments}", arguments))
    return "./see.py,./flash.py"


def test_a_step_of_common_operators_is_accepted_without_data_or_weights(check: Check) -> None:
    before = {key: value for key, value in os.environ.items() if key.startswith("MS_DEV")}
    code, report, _ = check("--plugins", "./see.py", "--weight", "nowhere", "--data_path", "nowhere", "--json")
    assert code == 0
    found = json.loads(report)
    assert found["target"] == "Ascend"
    assert found["device_only"] == {}
    assert found["trained"] == found["parameters"] == 64 * 64
    assert 20 < found["nodes"] < 300
    assert found["seconds"] > 0
    assert found["peak_bytes"] > 1e8
    assert {path.name for path in Path().iterdir() if path.suffix != ".py"} <= {"__pycache__"}
    assert before == {key: value for key, value in os.environ.items() if key.startswith("MS_DEV")}


@pytest.mark.parametrize(
    "settings", [[], ["gradient_accumulation_steps=2"], ["device.jit_level=O1", "per_batch_size=3"]]
)
def test_the_devices_own_operators_are_met_and_counted(check: Check, settings: list[str]) -> None:
    code, report, line = check("--plugins", flash('4, input_layout="BSH"'), *settings)
    assert code == 0, line
    assert report.startswith("accepted for Ascend: ")
    assert "operators that a CPU lacks: 1 FlashAttentionScore, 1 FlashAttentionScoreGrad;" in report


@pytest.mark.parametrize(
    ("arguments", "words"),
    [('3, input_layout="BSH"', "plugin 'flash' failed in compiling the step: "), ('4, input_layout="BNSD"', "rank")],
)
def test_a_wrong_number_of_heads_or_layout_is_refused_in_one_line(check: Check, arguments: str, words: str) -> None:
    code, report, line = check("--plugins", flash(arguments))
    assert (code, report) == (1, "")
    assert line.startswith("mindloom: error: plugin 'flash' failed in compiling the step: ")
    assert words in line
    assert "flash.py, line " in line


def test_an_operator_that_nobody_said_the_device_has_is_refused(check: Check) -> None:
    code, _, line = check("--plugins", "./see.py,./odd.py")
    assert code == 1
    assert "Unsupported op [NPUClearFloatStatus] on CPU" in line


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (
            "--plugins ./see.py optim.lrr=1",
            "there is no setting optim.lrr: did you mean 'lr'? (optim.lrr: command line)",
        ),
        ("--plugins ./see.py --ms_mode 1", "only a graph can be checked: set device.mode=graph (device.mode: flag)"),
        (
            "--plugins ./see.py,ddp",
            "a check compiles what one process computes, but 'ddp' joins several: --plugins no:ddp",
        ),
        ("max_steps=1", "no plugin makes a task"),
    ],
)
def test_wrong_use_is_one_line(check: Check, argv: str, words: str) -> None:
    code, _, line = check(*argv.split())
    assert code == 2
    assert line.startswith(f"mindloom: error: {words}")


@pytest.mark.parametrize("flags", [["_fa"], ["_fa", "--param_fp16", "True"], [""]], ids=" ".join)
def test_the_recipes_configs_compile_at_reduced_depth(
    check: Check, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    from mindloom_sdxl.presets import PRESETS, TINY

    shallow = replace(
        TINY,
        unet=replace(TINY.unet, channels=16, mult=(1, 2), res_blocks=1, depths=(0, 1)),
        clip_l=replace(TINY.clip_l, layers=2),
        clip_g=replace(TINY.clip_g, layers=2),
    )
    monkeypatch.setitem(PRESETS, "tiny", shallow)
    path = ROOT / "configs" / "training" / f"sd_xl_base_finetune_910b{flags[0]}.yaml"
    small = ["plugins.sdxl.preset=tiny", "plugins.sdxl.resolution=64", "plugins.sdxl.tokenizer=/nowhere"]
    code, report, line = check("--config", str(path), *flags[1:], *small)
    assert code == 0, line
    # The fused kernel has no float32.
    assert ("FlashAttentionScoreGrad" in report) == ("--param_fp16" in flags)
