"""A way to fill a network with random numbers."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn


def fill_random(cell: nn.Cell, seed: int = 0, scale: float = 0.1) -> None:
    """Give every parameter its own numbers: norm weights around 1, all else around 0.

    Fresh networks hold zeros and ones at many places, so that a test on them proves little.
    """
    draw = np.random.default_rng(seed)
    for parameter in cell.get_parameters():
        values = draw.normal(0, scale, parameter.shape).astype(np.float32)
        if parameter.ndim == 1 and parameter.name.endswith("weight"):
            values += 1
        parameter.set_data(ms.Tensor(values))
