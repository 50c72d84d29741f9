"""What the core asks of a task: a model, its loss as a cell, and how one sample becomes columns of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from mindspore import nn

    from .frozen import Frozen

Draw = Callable[[str], "np.random.Generator"]
"""``draw("noise")`` is a generator of its own for that purpose, keyed by (seed, global sample position)."""

Sample = Mapping[str, Any]
"""``{"image": images.Picture, "caption": str, "id": str, ...}``: one decoded sample, as a format delivers it."""


class Task(ABC):
    """A model that can be trained. A plugin returns one from ``make_task``.

    Attributes:
        model: holds every parameter, frozen ones too, under the names that they have on disk. Parameters with
            ``requires_grad=False`` get neither gradient nor optimizer state.
        loss: ``construct(*columns)`` -> scalar float32 tensor, the mean over the batch. Its parameters are those of
            ``model``.
        cells: other cells that hold parts of ``model``, such as a sampler's: a cell that a plugin replaces in the model
            is replaced in these too.
        columns: names of the batch's columns, in the order of the arguments of ``loss``.
        keep_float32: regular expressions of parameter names that must not be lowered to float16, such as norms.
        casts_weights: ``load_weights`` casts to the dtype that each parameter has. Dtypes are then lowered before it is
            called, so that a model of float16 parameters is never in memory as float32.
        resolution: side in pixels of the square whose area aspect-ratio buckets keep; 0: the task takes no buckets.
        multiple: sides of pictures must be multiples of this many pixels.
    """

    model: nn.Cell
    loss: nn.Cell
    cells: tuple[nn.Cell, ...] = ()
    columns: tuple[str, ...]
    keep_float32: tuple[str, ...] = ()
    casts_weights: bool = False
    resolution: int = 0
    multiple: int = 1

    @abstractmethod
    def transform(self, sample: Sample, draw: Draw) -> dict[str, np.ndarray]:
        """Turn one sample into its row of every column, shapes without the batch axis.

        Everything random comes from ``draw``. Called from several threads at once. Raise ``ValueError`` for a sample
        that cannot be used: it is counted as broken and replaced.
        """

    def example(self) -> dict[str, np.ndarray]:
        """Return some row of every column, for compiling without data: only shapes and dtypes count."""
        from PIL import Image

        from .images import PillowPicture
        from .plan import Plan

        sample = {"image": PillowPicture(Image.new("RGB", (64, 64), "grey")), "caption": "a picture", "id": "example"}
        return self.transform(sample, Plan(samples=1, seed=0).draw(0))

    @abstractmethod
    def load_weights(self, path: Path) -> None:
        """Fill ``model`` from a file or folder. Raise ``UserError`` when names or shapes do not fit."""

    def frozen(self) -> Frozen | None:
        """The part of the loss that never trains, if its results can be kept; None if there is none.

        Raises:
            UserError: a setting of the task makes every result unique.
        """
        return None

    def blocks(self) -> Sequence[nn.Cell]:
        """Return the repeated parts of ``model`` that train, none within another, in the order they are computed.

        Where memory is short, a block keeps only its inputs and is computed again in the backward pass. Asked for when
        plugins have replaced what they replace.
        """
        return ()

    def preview(self, prompts: Sequence[str], seed: int) -> list[np.ndarray] | None:
        """Show what the model can do now: one uint8 ``[height, width, 3]`` picture for each prompt, or None."""
        return None

    def throughput_unit(self) -> str:
        """What one sample is called in logs."""
        return "images"
