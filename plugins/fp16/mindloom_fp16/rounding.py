"""Whether float16 weights can take steps as small as the learning rate."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
from mindloom import UserError

LOST, SOME = 0.9, 0.1
"""Share of the weights that may stand still before the run is refused, and before it is warned about."""


def standing_still(weights: np.ndarray, lr: float) -> int:
    """Count float16 weights that AdamW cannot move: its step is about ``lr``; below half a spacing it rounds away."""
    return int((np.spacing(np.abs(weights)).astype(np.float32) > 2 * lr).sum())


def check_steps(params: Iterable[Any], lr: float, log: logging.Logger) -> None:
    """Measure how much of a model would stand still.

    Raises:
        UserError: nearly all of it: such a run would silently train nothing.
    """
    still = total = 0
    for param in params:
        weights = param.asnumpy()
        if weights.dtype == np.float16:
            still, total = still + standing_still(weights, lr), total + weights.size
    share = still / total if total else 0.0
    if share > LOST:
        raise UserError(
            f"{share:.0%} of the float16 weights would stand still, because steps of optim.lr={lr:g} round away: "
            "raise optim.lr or set plugins.fp16.mode=amp",
            setting="optim.lr",
        )
    if share > SOME:
        log.warning(
            "%.0f %% of the float16 weights stand still at a learning rate of %g: steps round away", share * 100, lr
        )
