"""VAE and text encoders that do not train are no part of the gradient: nothing of theirs is kept or computed for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import mindspore as ms
import numpy as np
from mindloom_sdxl import Sdxl
from mindloom_sdxl.task import SdxlTask
from mindloom_sdxl.testing import SETTINGS, micro
from mindspore import nn


def test_only_what_trains_has_gradient_nodes(tmp_path: Path) -> None:
    """By kinds of operators: MindSpore gives gradients the names of other cells."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    env["MS_DEV_DUMP_IR_PASSES"] = "hwopt_common_final_graph"  # read once in a process
    subprocess.run([sys.executable, __file__, str(tmp_path)], env=env, check=True, timeout=300)
    (file,) = tmp_path.rglob("hwopt_common_final_graph_*.ir")
    found = Counter(re.findall(r"\b(?:PrimFunc_)?(\w+)\(%", file.read_text()))
    with micro():
        unet = kinds(SdxlTask(Sdxl.Config(**SETTINGS), dry=True).model.unet)
    assert found["Conv2D"] > unet["Conv2d"]
    assert found["LayerNorm"] > unet["LayerNorm"]
    assert found["GroupNorm"] > unet["GroupNorm"]
    assert found["Conv2DBackpropFilter"] == unet["Conv2d"]
    assert found["Conv2DBackpropInput"] == unet["Conv2d"] - 1  # the noisy latents have none
    assert found["LayerNormGrad"] == unet["LayerNorm"]
    assert found["GroupNormGrad"] == unet["GroupNorm"]


def compile_gradients(folder: Path) -> None:
    """Leave the graph in a folder."""
    with micro():
        task = SdxlTask(Sdxl.Config(**SETTINGS), dry=True)
    rows = task.example()
    ms.set_context(save_graphs=1, save_graphs_path=str(folder))
    Gradients(task).compile(*(ms.Tensor(np.stack([rows[name]])) for name in task.columns))


class Gradients(nn.Cell):
    """What a step is but for the update, which would take as long to compile."""

    def __init__(self, task: SdxlTask) -> None:
        super().__init__(auto_prefix=False)
        self.both = ms.value_and_grad(task.loss, None, weights=task.model.trainable_params())

    def construct(self, *columns: ms.Tensor) -> ms.Tensor:
        return self.both(*columns)


def kinds(cell: nn.Cell) -> Counter[str]:
    """How many cells of each class there are."""
    return Counter(type(part).__name__ for _, part in cell.cells_and_names())


if __name__ == "__main__":
    compile_gradients(Path(sys.argv[1]))
