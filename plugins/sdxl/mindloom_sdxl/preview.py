"""Runs the model to draw pictures: captions in, uint8 pictures out, in batches of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from .cells.model import SDXLModel
from .objective import Predict
from .sampler import euler, initial_noise
from .tokens import CaptionTokenizer


class Guided(nn.Cell):
    """Classifier-free guidance (Ho and Salimans 2022): ε = ε_∅ + w (ε_caption - ε_∅).

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

    def __init__(self, model: SDXLModel) -> None:
        super().__init__(auto_prefix=False)
        self.model, self.scale = model, model.preset.vae.scale

    def construct(self, latents: ms.Tensor) -> ms.Tensor:
        return self.model.first_stage_model.decode(latents / self.scale)


@dataclass
class Previewer:
    """Draws a picture for each caption.

    Attributes:
        size: side of the pictures in pixels.
        steps: UNet calls for a picture.
        guidance: w of classifier-free guidance, 1 for none.
        zero_empty: the unconditional half sees zeros instead of the encoded empty caption.
        batch: pictures drawn at once; the last batch is filled up, so that nothing is compiled twice.
    """

    model: SDXLModel
    tokenizer: CaptionTokenizer
    size: int
    steps: int
    guidance: float
    zero_empty: bool
    batch: int
    guided: Guided = field(init=False)
    decode: Decode = field(init=False)

    def __post_init__(self) -> None:
        self.guided, self.decode = Guided(self.model, self.guidance), Decode(self.model)

    def __call__(self, prompts: Sequence[str], seed: int) -> list[np.ndarray]:
        """uint8 ``[size, size, 3]`` each. A picture depends on its caption, its place in the list and the seed only."""
        pictures: list[np.ndarray] = []
        for start in range(0, len(prompts), self.batch):
            captions = list(prompts[start : start + self.batch])
            captions += [""] * (self.batch - len(captions))
            pictures.extend(self.draw(captions, seed, start))
        return pictures[: len(prompts)]

    def draw(self, captions: list[str], seed: int, start: int) -> np.ndarray:
        context, vector = self.encode(captions)
        if self.guidance != 1:
            empty_context, empty_vector = self.encode([""] * len(captions))
            if self.zero_empty:
                empty_context = np.zeros_like(empty_context)
                # Only the pooled text comes first; the sizes behind it stay.
                empty_vector[:, : self.model.preset.clip_g.width] = 0
            context = np.concatenate((empty_context, context))
            vector = np.concatenate((empty_vector, vector))
        told = ms.Tensor(context), ms.Tensor(vector)

        def denoise(latents: np.ndarray, timestep: int) -> np.ndarray:
            timesteps = ms.Tensor(np.full(len(context), timestep, np.int32))
            return self.guided(ms.Tensor(latents), timesteps, *told).asnumpy()

        side = self.size // self.model.preset.vae.factor
        shape = (self.model.preset.unet.in_channels, side, side)
        noise = np.stack([initial_noise(seed, start + index, shape) for index in range(len(captions))])
        pixels = self.decode(ms.Tensor(euler(denoise, noise, self.steps))).asnumpy()
        return np.rint((pixels.clip(-1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)

    def encode(self, captions: list[str]) -> tuple[np.ndarray, np.ndarray]:
        ids_1, ids_2, eot_index = map(np.stack, zip(*map(self.tokenizer.encode, captions), strict=True))
        time_ids = np.tile(np.array([self.size, self.size, 0, 0, self.size, self.size], np.float32), (len(captions), 1))
        inputs = (ms.Tensor(column) for column in (ids_1, ids_2, eot_index, time_ids))
        context, vector = self.model.conditioner(*inputs)
        return context.asnumpy(), vector.asnumpy()
