"""Runs the model to draw pictures: captions in, latents and uint8 pictures out, in batches of one size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from .cells.model import SDXLModel
from .noising import Objective
from .objective import Predict
from .sampler import initial_noise, levels, trajectory
from .tokens import CaptionTokenizer

EPSILON = Objective()


class Guided(nn.Cell):
    """Classifier-free guidance (Ho and Salimans 2022): F = F_∅ + w (F_caption - F_∅).

    latents ``[B, 4, h, w]``; timesteps ``[2B]``; context and vector ``[2B, ...]``, the unconditional half first. With
    w = 1 the unconditional half drops out, and all of them have ``B`` rows.
    """

    def __init__(self, model: SDXLModel, guidance: float) -> None:
        super().__init__(auto_prefix=False)
        self.predict, self.guidance = Predict(model), guidance
        self.concat, self.split = ops.Concat(0), ops.Split(0, 2)

    def construct(self, latents: ms.Tensor, timesteps: ms.Tensor, context: ms.Tensor, vector: ms.Tensor) -> ms.Tensor:
        if self.guidance == 1:
            return self.predict(latents, timesteps, context, vector)
        empty, told = self.split(self.predict(self.concat((latents, latents)), timesteps, context, vector))
        return empty + self.guidance * (told - empty)


class Decode(nn.Cell):
    """Latents in the UNet's scale -> pixels about -1..1."""

    def __init__(self, model: SDXLModel, objective: Objective) -> None:
        super().__init__(auto_prefix=False)
        self.model = model
        self.shift, self.factor = map(ms.Tensor, objective.scaling(model.preset.vae.scale))

    def construct(self, latents: ms.Tensor) -> ms.Tensor:
        return self.model.first_stage_model.decode(latents / self.factor + self.shift)


class Told(NamedTuple):
    """What the UNet is told about a batch, the unconditional half first if there is guidance."""

    context: ms.Tensor
    """``[B or 2B, 77, c]``"""
    vector: ms.Tensor
    """``[B or 2B, v]``"""


@dataclass
class Painter:
    """The model's three parts as compiled graphs; each compiles when it is used first.

    Attributes:
        guidance: w of classifier-free guidance, 1 for none.
        objective: what the UNet was trained for.
        scheduler: one of ``sampler.SCHEDULERS``.
    """

    model: SDXLModel
    tokenizer: CaptionTokenizer
    guidance: float
    objective: Objective = EPSILON
    scheduler: str = "euler"
    guided: Guided = field(init=False)
    decode: Decode = field(init=False)

    def __post_init__(self) -> None:
        self.guided, self.decode = Guided(self.model, self.guidance), Decode(self.model, self.objective)

    @property
    def cells(self) -> tuple[nn.Cell, ...]:
        """What is compiled."""
        return self.model.conditioner, self.guided, self.decode

    def tell(self, captions: Sequence[str], time_ids: np.ndarray, negative: str | None = "") -> Told:
        """Encode captions and sizes.

        Args:
            captions: one for each picture of the batch.
            time_ids: original height and width, crop top and left, target height and width: ``[6]``.
            negative: the caption that guidance moves away from; None for zeros in its place.
        """
        context, vector = self.encode(captions, time_ids)
        if self.guidance != 1:
            away, from_vector = self.encode([negative or ""] * len(captions), time_ids)
            if negative is None:
                away = np.zeros_like(away)
                # Only the pooled text comes first; the sizes behind it stay.
                from_vector[:, : self.model.preset.clip_g.width] = 0
            context, vector = np.concatenate((away, context)), np.concatenate((from_vector, vector))
        return Told(ms.Tensor(context), ms.Tensor(vector))

    def encode(self, captions: Sequence[str], time_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ids_1, ids_2, eot_index = map(np.stack, zip(*map(self.tokenizer.encode, captions), strict=True))
        columns = ids_1, ids_2, eot_index, np.tile(time_ids.astype(np.float32), (len(captions), 1))
        context, vector = self.model.conditioner(*map(ms.Tensor, columns))
        return context.asnumpy().copy(), vector.asnumpy().copy()

    def steps(self, told: Told, noise: np.ndarray, steps: int) -> Iterator[np.ndarray]:
        """Yield the latents after every step; see :func:`mindloom_sdxl.sampler.trajectory`."""

        def network(latents: np.ndarray, timestep: float) -> np.ndarray:
            timesteps = ms.Tensor(np.full(len(told.vector), timestep, np.float32))
            return self.guided(ms.Tensor(latents), timesteps, *told).asnumpy()

        kind = self.objective.name
        visit = levels(steps, self.scheduler, kind, self.objective.zero_terminal_snr)
        yield from trajectory(network, noise, visit, kind)

    def pixels(self, latents: np.ndarray) -> np.ndarray:
        """Final latents ``[B, 4, h, w]`` -> uint8 ``[B, 8h, 8w, 3]``."""
        pixels = self.decode(ms.Tensor(latents)).asnumpy()
        return np.rint((pixels.clip(-1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)

    def noise(self, seed: int, indices: Sequence[int], height: int, width: int) -> np.ndarray:
        """Initial noise of pictures of this size in pixels."""
        factor = self.model.preset.vae.factor
        shape = (self.model.preset.unet.in_channels, height // factor, width // factor)
        return np.stack([initial_noise(seed, index, shape) for index in indices])


def filled(items: Sequence[str], first: int, batch: int) -> list[str]:
    """A batch of items; the last one is filled up, so that nothing is compiled twice."""
    found = list(items[first : first + batch])
    return found + [""] * (batch - len(found))


@dataclass
class Previewer:
    """Draws a picture for each caption.

    Attributes:
        size: side of the pictures in pixels.
        steps: UNet calls for a picture.
        guidance: w of classifier-free guidance, 1 for none.
        zero_empty: the unconditional half sees zeros instead of the encoded empty caption.
        batch: pictures drawn at once.
        objective: what the UNet was trained for.
    """

    model: SDXLModel
    tokenizer: CaptionTokenizer
    size: int
    steps: int
    guidance: float
    zero_empty: bool
    batch: int
    objective: Objective = EPSILON
    painter: Painter = field(init=False)

    def __post_init__(self) -> None:
        self.painter = Painter(self.model, self.tokenizer, self.guidance, self.objective)

    def __call__(self, prompts: Sequence[str], seed: int) -> list[np.ndarray]:
        """uint8 ``[size, size, 3]`` each. A picture depends on its caption, its place in the list and the seed only."""
        time_ids = np.array([self.size, self.size, 0, 0, self.size, self.size])
        pictures: list[np.ndarray] = []
        for first in range(0, len(prompts), self.batch):
            captions = filled(prompts, first, self.batch)
            told = self.painter.tell(captions, time_ids, None if self.zero_empty else "")
            noise = self.painter.noise(seed, range(first, first + self.batch), self.size, self.size)
            *_, latents = self.painter.steps(told, noise, self.steps)
            pictures.extend(self.painter.pixels(latents))
        return pictures[: len(prompts)]
