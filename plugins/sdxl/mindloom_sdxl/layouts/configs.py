"""The JSON files of a diffusers folder, as the released models have them, for any preset.

What they say is taken from ``stabilityai/stable-diffusion-xl-base-1.0`` and ``-refiner-1.0``.
"""

from __future__ import annotations

from typing import Any

from ..presets import BASE, PRESETS, Preset, TextConfig, UNetConfig, VAEConfig
from .shapes import REFINER
from .trained import Trained

Json = dict[str, Any]
VERSION = "0.19.0"
"""The first release of diffusers that reads every setting written here; it is what the released model says."""
EDM_VERSION = "0.27.0"


def unet(config: UNetConfig, size_dim: int, side: int) -> Json:
    """``unet/config.json``; ``side`` is that of the latents."""
    crossed = [depth > 0 for depth in config.depths]
    # diffusers takes the middle's depth from the last level, whose own is not asked for where it has no attention.
    depths = [max(1, depth) for depth in config.depths[:-1]] + [config.middle_depth]
    widths = [config.channels * mult for mult in config.mult]
    return {
        "_class_name": "UNet2DConditionModel",
        "_diffusers_version": VERSION,
        "act_fn": "silu",
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": size_dim,
        # The name is a known misnomer: diffusers reads the number of heads here.
        "attention_head_dim": [width // config.head_dim for width in widths],
        "block_out_channels": widths,
        "cross_attention_dim": config.context_dim,
        "down_block_types": ["CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in crossed],
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": config.in_channels,
        "layers_per_block": config.res_blocks,
        "norm_eps": 1e-5,
        "norm_num_groups": config.groups,
        "out_channels": config.out_channels,
        "projection_class_embeddings_input_dim": config.vector_dim,
        "sample_size": side,
        "transformer_layers_per_block": depths,
        "up_block_types": ["CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in reversed(crossed)],
        "use_linear_projection": True,
    }


def text(config: TextConfig, projected: bool) -> Json:
    """``text_encoder/config.json``, or ``text_encoder_2/config.json`` where ``projected``."""
    return {
        "architectures": ["CLIPTextModelWithProjection" if projected else "CLIPTextModel"],
        "attention_dropout": 0.0,
        "bos_token_id": config.sot_id,
        "eos_token_id": config.eot_id,
        "hidden_act": "gelu" if projected else "quick_gelu",
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": config.length,
        "model_type": "clip_text_model",
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "pad_token_id": config.pad_id,
        "projection_dim": config.width,
        "vocab_size": config.vocabulary,
    }


def vae(config: VAEConfig, side: int) -> Json:
    """``vae/config.json``; ``side`` is that of the pictures."""
    levels = len(config.mult)
    return {
        "_class_name": "AutoencoderKL",
        "_diffusers_version": VERSION,
        "act_fn": "silu",
        "block_out_channels": [config.channels * mult for mult in config.mult],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "force_upcast": True,
        "in_channels": 3,
        "latent_channels": config.latent_channels,
        "layers_per_block": config.res_blocks,
        "norm_num_groups": config.groups,
        "out_channels": 3,
        "sample_size": side,
        "scaling_factor": config.scale,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }


def scheduler(trained: Trained) -> Json:
    """``scheduler/scheduler_config.json``."""
    if trained.prediction == "edm":
        # Karras et al. 2022; the network predicts what EDM's preconditioning leaves to it.
        return {
            "_class_name": "EDMEulerScheduler",
            "_diffusers_version": EDM_VERSION,
            "num_train_timesteps": 1000,
            "prediction_type": "epsilon",
            "rho": 7.0,
            "sigma_data": 0.5,
            "sigma_max": 80.0,
            "sigma_min": 0.002,
        }
    # Pure noise is seen in sampling only if the last timestep is the first one taken (Lin et al. 2024, section 3.3).
    zero = {"rescale_betas_zero_snr": True} if trained.zero_terminal_snr else {}
    return {
        "_class_name": "EulerDiscreteScheduler",
        "_diffusers_version": VERSION,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "interpolation_type": "linear",
        "num_train_timesteps": 1000,
        "prediction_type": trained.prediction,
        **zero,
        "sample_max_value": 1.0,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "timestep_spacing": "trailing" if zero else "leading",
        "trained_betas": None,
        "use_karras_sigmas": False,
    }


def scaled(config: Json, trained: Trained) -> Json:
    """The VAE's config with the scale that latents were brought to."""
    if not (trained.mean and trained.std):
        return config
    return {**config, "latents_mean": list(trained.mean), "latents_std": list(trained.std), "scaling_factor": 0.5}


def parts(name: str) -> dict[str, Json]:
    """The configs of all parts of a known model, by folder."""
    if name == "refiner":
        return {
            "unet": unet(REFINER, BASE.size_dim, BASE.latent_size),
            "text_encoder_2": text(BASE.clip_g, projected=True),
            "vae": vae(BASE.vae, BASE.resolution),
        }
    return of(PRESETS[name])


def of(preset: Preset) -> dict[str, Json]:
    """The configs of all parts of a preset, by folder."""
    return {
        "unet": unet(preset.unet, preset.size_dim, preset.latent_size),
        "text_encoder": text(preset.clip_l, projected=False),
        "text_encoder_2": text(preset.clip_g, projected=True),
        "vae": vae(preset.vae, preset.resolution),
    }


def index(refiner: bool, tokenizers: set[str], scheduler: str) -> Json:
    """``model_index.json``; what is not there is null."""
    nothing = [None, None]
    texts = {
        "text_encoder": nothing if refiner else ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        **{
            name: ["transformers", "CLIPTokenizer"] if name in tokenizers else nothing
            for name in ("tokenizer", "tokenizer_2")
        },
    }
    return {
        "_class_name": "StableDiffusionXLImg2ImgPipeline" if refiner else "StableDiffusionXLPipeline",
        "_diffusers_version": VERSION,
        "force_zeros_for_empty_prompt": not refiner,
        **({"requires_aesthetics_score": True} if refiner else {}),
        "scheduler": ["diffusers", scheduler],
        **texts,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def modelspec(name: str, title: str, date: str) -> dict[str, str]:
    """What a single file says of itself (https://github.com/Stability-AI/ModelSpec, version 1.0.0)."""
    resolution = PRESETS.get(name, BASE).resolution
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"stable-diffusion-xl-v1-{name}",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.title": title,
        "modelspec.date": date,
        "modelspec.resolution": f"{resolution}x{resolution}",
    }
