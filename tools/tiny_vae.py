"""First stage of make_tiny: the autoencoder, on crops, then on whole pictures; its latents brought to unit scale."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindloom_sdxl.cells.vae import AutoencoderKL, Decode
from mindspore import nn, ops
from tiny_data import SIDE, to_unit
from tiny_train import Average, fit

FIRST_LOGVAR = -6.0


class ReconstructionLoss(nn.Cell):
    """Mean |error| + mean error² of the pictures, plus `kl_weight` times the KL divergence from N(0, 1) per latent.

    Rombach et al. 2022, appendix G, without perceptual and adversarial terms: flat shapes have no texture to invent.
    """

    def __init__(self, autoencoder: AutoencoderKL, kl_weight: float) -> None:
        super().__init__()
        self.autoencoder, self.kl_weight = autoencoder, kl_weight
        self.exp, self.abs, self.mean = ops.Exp(), ops.Abs(), ops.ReduceMean()

    def construct(self, pixels: ms.Tensor, noise: ms.Tensor) -> ms.Tensor:
        mean, logvar = self.autoencoder(pixels)
        error = self.autoencoder.decode(mean + self.exp(logvar * 0.5) * noise) - pixels
        divergence = self.mean(mean * mean + self.exp(logvar) - logvar - 1.0) * 0.5
        return self.mean(self.abs(error)) + self.mean(error * error) + self.kl_weight * divergence


def start_as_pyramid(autoencoder: AutoencoderKL) -> None:
    """Fresh weights from which a few thousand steps are enough: on the way down an average, on the way up a copy.

    The residual branches start at zero and what joins them close to the identity, so that colours reach the latents
    from the first step; with the usual random weights the loss stays on a plateau for hundreds of steps. The posterior
    starts narrow: that of fresh weights is N(small, 1), whose noise would drown what the decoder could learn from.
    """
    for name, parameter in autoencoder.parameters_and_names():
        weight = parameter.asnumpy().copy()
        if name.endswith(("conv2.weight", "proj_out.weight")):
            weight[:] = 0
        elif name == "encoder.conv_in.weight":
            weight *= 0.3
            for i in range(len(weight)):
                weight[i, i % 3, 1, 1] += (-1) ** (i // 3)
        elif name.endswith(("downsample.conv.weight", "upsample.conv.weight", "nin_shortcut.weight")):
            weight *= 0.3
            for i in range(min(weight.shape[:2])):
                if "downsample" in name:
                    weight[i, i, :2, :2] += 0.25
                else:
                    weight[i, i, weight.shape[2] // 2, weight.shape[3] // 2] += 1
        elif name == "quant_conv.bias":
            weight[autoencoder.config.latent_channels :] = FIRST_LOGVAR
        parameter.set_data(ms.Tensor(weight))


def train_vae(
    autoencoder: AutoencoderKL,
    pixels: np.ndarray,
    crop_steps: int,
    whole_steps: int,
    batch: int,
    peak: float,
    kl_weight: float,
    seed: int,
) -> float:
    """Returns the final loss. Whole pictures come last, because attention and group statistics see all of them."""
    for parameter in autoencoder.get_parameters():
        parameter.requires_grad = True
    start_as_pyramid(autoencoder)
    loss = ReconstructionLoss(autoencoder, kl_weight)
    factor, channels = autoencoder.config.factor, autoencoder.config.latent_channels
    result = 0.0
    for stage, (side, size, steps, rate) in enumerate(
        ((SIDE // 2, batch, crop_steps, peak), (SIDE, batch // 2, whole_steps, peak / 4))
    ):
        if not steps:
            continue
        rng = np.random.default_rng([seed, 10 + stage])

        def draw(step: int, side: int = side, size: int = size, rng: np.random.Generator = rng) -> list[np.ndarray]:
            chosen = pixels[rng.integers(len(pixels), size=size)]
            top, left = rng.integers(SIDE - side + 1, size=2)
            crop = to_unit(chosen[:, :, top : top + side, left : left + side])
            if rng.random() < 0.5:
                crop = np.ascontiguousarray(crop[:, :, :, ::-1])
            return [crop, rng.standard_normal((size, channels, side // factor, side // factor), np.float32)]

        average = Average(autoencoder)
        result = fit(f"vae at {side}", loss, draw, steps, rate, average)
        average.apply()
    return result


def encode_all(autoencoder: AutoencoderKL, pixels: np.ndarray, batch: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the latents of all pictures, float32 [N, 4, 16, 16], not yet scaled."""
    autoencoder.set_train(False)
    means, deviations = [], []
    for start in range(0, len(pixels), batch):
        part = to_unit(pixels[start : start + batch])
        # One shape, one compilation: the last batch is filled up and cut again.
        full = np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), np.float32)])
        mean, logvar = autoencoder(ms.Tensor(full))
        means.append(mean.asnumpy()[: len(part)])
        deviations.append(np.exp(0.5 * logvar.asnumpy()[: len(part)]))
    return np.concatenate(means), np.concatenate(deviations)


def normalise_latents(autoencoder: AutoencoderKL, means: np.ndarray) -> None:
    """Make every channel of the scaled latents have mean 0 and deviation 1, with the networks' answers unchanged.

    The 1x1 convolutions on both sides of the latents absorb it: quant_conv gives z' = (z - m) s with
    s = 1 / (deviation · scale), its logvar half gains 2 ln s, and post_quant_conv takes z = z' / s + m.
    """
    channels = autoencoder.config.latent_channels
    centre = means.mean((0, 2, 3))
    stretch = 1 / (means.std((0, 2, 3)) * autoencoder.config.scale)
    into, out = autoencoder.quant_conv, autoencoder.post_quant_conv
    weight, bias = into.weight.asnumpy().copy(), into.bias.asnumpy().copy()
    weight[:channels] *= stretch[:, None, None, None]
    bias[:channels] = (bias[:channels] - centre) * stretch
    bias[channels:] += 2 * np.log(stretch)
    into.weight.set_data(ms.Tensor(weight))
    into.bias.set_data(ms.Tensor(bias))
    weight, bias = out.weight.asnumpy().copy(), out.bias.asnumpy().copy()
    bias += weight[:, :, 0, 0] @ centre
    weight /= stretch[None, :, None, None]
    out.weight.set_data(ms.Tensor(weight.astype(np.float32)))
    out.bias.set_data(ms.Tensor(bias.astype(np.float32)))


def decode_all(autoencoder: AutoencoderKL, latents: np.ndarray) -> np.ndarray:
    """Pictures float32 [N, 3, 8 h, 8 w] about -1..1 of scaled latents [N, 4, h, w]."""
    decode = Decode(autoencoder)
    decode.set_train(False)
    return np.asarray(decode(ms.Tensor(latents / np.float32(autoencoder.config.scale))).asnumpy())
