"""Trails: named tensors in the order in which a network makes them, and the search for the first one that differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

Trail = dict[str, np.ndarray]
"""Tensors by name, in forward order."""

MEASURED: list[tuple[str, str, float]] = []
"""Subject, worst tensor and its relative difference, of every comparison that held; conftest prints them."""

CLOSE, GRADIENTS_CLOSE = 2e-5, 1e-4
"""Limits of relative differences in float32, a few times what was measured on a CPU with AVX-512 (8.6e-6, 1.2e-5)."""


@dataclass(frozen=True)
class Difference:
    """How far a tensor is from the reference's.

    Attributes:
        largest: max |ours - theirs|.
        relative: the same by the size of the reference's tensor, max |theirs|.
    """

    name: str
    largest: float
    relative: float

    def __str__(self) -> str:
        return f"{self.name}, by {self.largest:.3g} or {self.relative:.3g} of its largest number"


def ruler(name: str, theirs: Mapping[str, np.ndarray]) -> float:
    """The size that a difference in this tensor is measured by.

    The gradient of a key's bias is zero by the softmax's shift invariance, so what is there is rounding; it is measured
    by the gradient of the key's weight.
    """
    if name.endswith(("k_proj.bias", "to_k.bias")):
        name = name.removesuffix("bias") + "weight"
    return max(float(np.abs(theirs[name]).max(initial=0.0)), float(np.finfo(np.float32).tiny))


def differences(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> Iterator[Difference]:
    """One for each tensor, in our order."""
    assert ours.keys() == theirs.keys(), f"only on one side: {sorted(ours.keys() ^ theirs.keys())}"
    for name, our in ours.items():
        their = alike(theirs[name], our)
        largest = float(np.abs(our.astype(np.float64) - their).max(initial=0.0))
        # A NaN is larger than any limit.
        largest = largest if np.isfinite(largest) else np.inf
        yield Difference(name, largest, largest / ruler(name, theirs))


def alike(theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """The reference's tensor in our layout: it has tokens where the VAE's attention has pictures."""
    if theirs.shape == ours.shape:
        return theirs
    if ours.ndim == 4:
        batch, channels, height, width = ours.shape
        assert height * width != channels, "as many pixels as channels: tokens and pictures cannot be told apart"
        if theirs.shape == (batch, height * width, channels):
            return theirs.transpose(0, 2, 1).reshape(ours.shape)
        if theirs.shape == (batch, channels, height * width):
            return theirs.reshape(ours.shape)
    raise AssertionError(f"shapes {ours.shape} and {theirs.shape}")


def assert_same(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], subject: str, limit: float = CLOSE
) -> None:
    """Compare in our order, and name the first tensor that is further away than ``limit`` times its largest number."""
    found = list(differences(ours, theirs))
    worst = max(found, key=lambda difference: difference.relative)
    wrong = [difference for difference in found if not difference.relative < limit]
    if wrong:
        raise AssertionError(
            f"{subject}: the first tensor that differs is {wrong[0]}; {len(wrong)} of {len(found)} differ, most {worst}"
        )
    MEASURED.append((subject, worst.name, worst.relative))


@contextmanager
def recording(paths: Mapping[str, Any], numpy: Callable[[Any], np.ndarray]) -> Iterator[Trail]:
    """Fill a trail with what these cells or modules give while the block runs, in the order in which they end.

    The first output is taken of those that give several, and the first call of those that are called again.

    Args:
        paths: name in the trail -> cell (which must run in PyNative mode) or module.
        numpy: how to get an array from an output.
    """
    trail: Trail = {}

    def keeper(name: str) -> Callable[[Any, Any, Any], None]:
        def keep(_: Any, __: Any, output: Any) -> None:
            while isinstance(output, (tuple, list)) or hasattr(output, "to_tuple"):
                output = output[0]
            trail.setdefault(name, numpy(output))

        return keep

    handles = [part.register_forward_hook(keeper(name)) for name, part in paths.items()]
    try:
        yield trail
    finally:
        for handle in handles:
            handle.remove()


def of_mindspore(output: Any) -> np.ndarray:
    """A copy, for the tensor's memory may be used again."""
    return np.array(output.asnumpy())


def of_torch(output: Any) -> np.ndarray:
    """A copy, for some modules work in place."""
    return np.array(output.detach().numpy())
