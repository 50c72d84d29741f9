"""Second stage of make_tiny: the UNet, on latents and text that were encoded once, so that a step is the UNet alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindloom_sdxl.cells.model import SDXLModel
from mindloom_sdxl.cells.unet import UNet
from mindloom_sdxl.schedule import TIMESTEPS, mixing
from mindloom_sdxl.tokens import load_tokenizer
from mindspore import nn, ops
from tiny_train import Average, fit

TEXT_BATCH = 32


class NoiseLoss(nn.Cell):
    """Mean squared error of the predicted noise (Ho et al. 2020, equation 14)."""

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.unet, self.mean = unet, ops.ReduceMean()

    def construct(
        self, noisy: ms.Tensor, timesteps: ms.Tensor, context: ms.Tensor, vector: ms.Tensor, noise: ms.Tensor
    ) -> ms.Tensor:
        error = self.unet(noisy, timesteps, context, vector) - noise
        return self.mean(error * error)


@dataclass(frozen=True)
class Text:
    """Captions through both encoders: `context` [C, 77, 64] and `pooled` [C, 32]; `row` finds a caption's."""

    context: np.ndarray
    pooled: np.ndarray
    row: dict[str, int]


def encode_text(model: SDXLModel, captions: Sequence[str]) -> Text:
    """Every different caption once, and the empty one, which stands for "no caption"."""
    unique = sorted({"", *captions})
    tokenizer = load_tokenizer("", model.preset.name)
    tokens = [tokenizer.encode(caption) for caption in unique]
    # One shape, one compilation.
    tokens += tokens[:1] * (-len(tokens) % TEXT_BATCH)
    sizes = ms.Tensor(np.zeros((TEXT_BATCH, 6), np.float32))
    contexts, pooled = [], []
    for start in range(0, len(tokens), TEXT_BATCH):
        columns = zip(*tokens[start : start + TEXT_BATCH], strict=True)
        context, vector = model.conditioner(*(ms.Tensor(np.stack(column)) for column in columns), sizes)
        contexts.append(context.asnumpy())
        pooled.append(vector.asnumpy()[:, : model.preset.clip_g.width])
    row = {caption: index for index, caption in enumerate(unique)}
    return Text(np.concatenate(contexts), np.concatenate(pooled), row)


def train_unet(
    model: SDXLModel,
    latents: tuple[np.ndarray, np.ndarray],
    captions: Sequence[str],
    time_ids: np.ndarray,
    steps: int,
    batch: int,
    peak: float,
    caption_dropout: float,
    seed: int,
    average_decay: float = 0.95,
) -> float:
    """Train on scaled latents (mean and deviation, each [N, 4, 16, 16]); returns the final loss."""
    text = encode_text(model, captions)
    rows = np.array([text.row[caption] for caption in captions])
    sizes = model.conditioner.sizes(ms.Tensor(time_ids)).asnumpy()
    signal, spread = (table.astype(np.float32)[:, None, None, None] for table in mixing())
    means, deviations = latents
    rng = np.random.default_rng([seed, 20])

    def draw(step: int) -> list[np.ndarray]:
        chosen = rng.integers(len(means), size=batch)
        timesteps = rng.integers(TIMESTEPS, size=batch)
        spoken = np.where(rng.random(batch) < caption_dropout, text.row[""], rows[chosen])
        shape = (batch, *means.shape[1:])
        clean = means[chosen] + deviations[chosen] * rng.standard_normal(shape, np.float32)
        noise = rng.standard_normal(shape, np.float32)
        noisy = signal[timesteps] * clean + spread[timesteps] * noise
        vector = np.concatenate([text.pooled[spoken], sizes[chosen]], -1)
        return [noisy, timesteps.astype(np.int32), text.context[spoken], vector, noise]

    average = Average(model.unet, average_decay)
    result = fit("unet", NoiseLoss(model.unet), draw, steps, peak, average)
    average.apply()
    return result
