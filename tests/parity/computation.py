"""One training computation on either side, from captioned pictures to the loss, with every tensor that it names.

The reference's is that of diffusers' ``examples/text_to_image/train_text_to_image_sdxl.py``, with the random numbers of
our batch; EDM is Karras et al. 2022, equation 8, through diffusers' ``EDMEulerScheduler``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mindspore as ms
import numpy as np
from mindloom.images import PillowPicture
from mindloom_sdxl.noising import Objective
from mindloom_sdxl.objective import DiffusionLoss
from mindloom_sdxl.transform import Transform
from PIL import Image

from .reference import SCHEDULE, Arrays, diffusers, torch
from .trail import Trail, of_mindspore

CAPTIONS = ("a red disc on a light background", "two cats, asleep", "", "Ünusual wörds & 123 numbers")
SIGMA_DATA = 0.5
Loss = Any
"""A scalar of PyTorch."""


def draw_for(position: int) -> Any:
    def draw(purpose: str) -> np.random.Generator:
        return np.random.default_rng([position, zlib.crc32(purpose.encode())])

    return draw


def batch(transform: Transform, positions: Sequence[int]) -> Arrays:
    """Columns of samples whose pictures are noise of various sizes."""
    rows = []
    for position in positions:
        height, width = 70 + 13 * position % 40, 64 + 7 * position
        pixels = np.random.default_rng(position).integers(0, 256, (height, width, 3), np.uint8)
        sample = {"image": PillowPicture(Image.fromarray(pixels)), "caption": CAPTIONS[position % len(CAPTIONS)]}
        rows.append(transform(sample, draw_for(position)))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@contextmanager
def watched(loss: DiffusionLoss) -> Iterator[Trail]:
    """What the cells of a loss give, in order, while the block runs in PyNative mode."""
    first, second = loss.model.conditioner.embedders
    cells = {
        first: ("context_l",), second: ("context_g", "pooled"), loss.model.first_stage_model: ("mean", "logvar"),
        loss.noising: ("noisy", "target", "timesteps"), loss.predict: ("prediction",),
    }  # fmt: skip
    trail: Trail = {}

    def keep(cell: Any, _: Any, output: Any) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        trail.update(zip(cells[cell], map(of_mindspore, outputs), strict=True))

    handles = [cell.register_forward_hook(keep) for cell in cells]
    yield trail
    for handle in handles:
        handle.remove()


def ours(loss: DiffusionLoss, columns: Arrays) -> Trail:
    """Our loss, and what it is made of."""
    with watched(loss) as trail:
        value = loss(*map(ms.Tensor, columns.values()))
    return {**trail, "loss": of_mindspore(value)}


def theirs(pipe: Any, unet: Any, columns: Arrays, objective: Objective) -> tuple[Trail, Loss]:
    """The reference's, and its loss with a graph behind it."""
    given = {name: torch.from_numpy(column) for name, column in columns.items()}
    trail: dict[str, Any] = {}
    with torch.no_grad():
        out = pipe.text_encoder(given["ids_1"].long(), output_hidden_states=True)
        trail["context_l"] = out.hidden_states[-2]
        out = pipe.text_encoder_2(given["ids_2"].long(), output_hidden_states=True)
        trail["context_g"], trail["pooled"] = out.hidden_states[-2], out.text_embeds
        posterior = pipe.vae.encode(given["pixels"].float() / 127.5 - 1).latent_dist
    trail["mean"], trail["logvar"] = posterior.mean, posterior.logvar
    latents = posterior.mean + posterior.std * given["vae_noise"]
    if objective.latents_std:
        mean, std = (
            torch.tensor(values).reshape(1, 4, 1, 1) for values in (objective.latents_mean, objective.latents_std)
        )
        latents = (latents - mean) * SIGMA_DATA / std
    else:
        latents = latents * pipe.vae.config.scaling_factor
    make = karras if objective.name == "edm" else ddpm
    noisy, target, timesteps, weights = make(latents, given, objective)
    added = {"text_embeds": trail["pooled"], "time_ids": given["time_ids"]}
    context = torch.cat((trail["context_l"], trail["context_g"]), -1)
    predicted = unet(noisy, timesteps, context, added_cond_kwargs=added).sample
    loss = (((predicted.float() - target) ** 2).mean((1, 2, 3)) * weights).mean()
    trail |= {"noisy": noisy, "target": target, "timesteps": timesteps, "prediction": predicted, "loss": loss}
    return {name: np.array(tensor.detach().numpy()) for name, tensor in trail.items()}, loss


def ddpm(latents: Any, given: dict[str, Any], objective: Objective) -> tuple[Any, Any, Any, Any]:
    """Noisy latents, target, timesteps and weights of the script; SNR as its ``compute_snr``."""
    noises = diffusers.DDPMScheduler(1000, **SCHEDULE, rescale_betas_zero_snr=objective.zero_terminal_snr)
    timesteps, noise = given["timesteps"].long(), given["noise"]
    velocity = objective.name == "v"
    target = noises.get_velocity(latents, noise, timesteps) if velocity else noise
    weights = torch.ones(len(latents))
    if objective.min_snr_gamma:
        snr = diffusers.training_utils.compute_snr(noises, timesteps)
        weights = snr.clamp(max=objective.min_snr_gamma) / (snr + 1 if velocity else snr)
    return noises.add_noise(latents, noise, timesteps), target, timesteps, weights


def karras(latents: Any, given: dict[str, Any], objective: Objective) -> tuple[Any, Any, Any, Any]:
    """λ ‖D - z‖² = λ c_out² ‖F - (z - c_skip x)/c_out‖², where λ c_out² = 1; the target in float64."""
    noises = diffusers.EDMEulerScheduler(sigma_data=SIGMA_DATA)
    sigma, latents = given["sigmas"].double()[:, None, None, None], latents.double()
    noisy = latents + sigma * given["noise"]
    skipped = noises.precondition_outputs(noisy, torch.zeros_like(noisy), sigma)
    out = noises.precondition_outputs(torch.zeros_like(noisy), torch.ones_like(noisy), sigma)
    weights = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
    target, told = (latents - skipped) / out, noises.precondition_noise(given["sigmas"])
    # Latents, weights and all were made in float64; the network computes in float32.
    seen = noises.precondition_inputs(noisy, sigma).float()
    return seen, target.float(), told, (weights * out[:, :1, :1, :1] ** 2).flatten().float()
