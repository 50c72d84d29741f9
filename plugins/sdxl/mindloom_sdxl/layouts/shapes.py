"""Names and shapes of every tensor of a model, from its preset alone: no cell is built, mindspore is not imported."""

from __future__ import annotations

from collections.abc import Iterator

from ..presets import BASE, PRESETS, Preset, TextConfig, UNetConfig, VAEConfig
from .names import CLIP_L, OPEN_CLIP, REFINER_CLIP, UNET, VAE

Shapes = dict[str, tuple[int, ...]]
Pairs = Iterator[tuple[str, tuple[int, ...]]]

REFINER = UNetConfig(
    channels=384, mult=(1, 2, 4, 4), res_blocks=2, depths=(0, 4, 4, 0), middle_depth=4, head_dim=64, context_dim=1280,
    vector_dim=2560,
)  # fmt: skip
"""The released refiner's UNet. It is told from the others and converted, not trained."""


def _layer(name: str, outputs: int, *inputs: int, bias: bool = True) -> Pairs:
    yield f"{name}.weight", (outputs, *inputs)
    if bias:
        yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> Pairs:
    return _layer(name, width)


def _res_block(name: str, inputs: int, outputs: int, embedding: int) -> Pairs:
    yield from _norm(f"{name}.in_layers.0", inputs)
    yield from _layer(f"{name}.in_layers.2", outputs, inputs, 3, 3)
    yield from _layer(f"{name}.emb_layers.1", outputs, embedding)
    yield from _norm(f"{name}.out_layers.0", outputs)
    yield from _layer(f"{name}.out_layers.3", outputs, outputs, 3, 3)
    if inputs != outputs:
        yield from _layer(f"{name}.skip_connection", outputs, inputs, 1, 1)


def _transformer(name: str, width: int, depth: int, context: int) -> Pairs:
    yield from _norm(f"{name}.norm", width)
    yield from _layer(f"{name}.proj_in", width, width)
    for index in range(depth):
        block = f"{name}.transformer_blocks.{index}"
        for attention, inputs in (("attn1", width), ("attn2", context)):
            yield from _layer(f"{block}.{attention}.to_q", width, width, bias=False)
            yield from _layer(f"{block}.{attention}.to_k", width, inputs, bias=False)
            yield from _layer(f"{block}.{attention}.to_v", width, inputs, bias=False)
            yield from _layer(f"{block}.{attention}.to_out.0", width, width)
        yield from _layer(f"{block}.ff.net.0.proj", 8 * width, width)
        yield from _layer(f"{block}.ff.net.2", width, 4 * width)
        for number in (1, 2, 3):
            yield from _norm(f"{block}.norm{number}", width)
    yield from _layer(f"{name}.proj_out", width, width)


def unet(config: UNetConfig) -> Pairs:
    """See ``cells/unet.py``, which is built in the same order."""
    width, channels = config.embedding_dim, config.channels
    yield from _layer("time_embed.0", width, channels)
    yield from _layer("time_embed.2", width, width)
    yield from _layer("label_emb.0.0", width, config.vector_dim)
    yield from _layer("label_emb.0.2", width, width)
    yield from _layer("input_blocks.0.0", channels, config.in_channels, 3, 3)
    skips, block, last = [channels], 1, len(config.mult) - 1
    for level, (mult, depth) in enumerate(zip(config.mult, config.depths, strict=True)):
        for _ in range(config.res_blocks):
            yield from _res_block(f"input_blocks.{block}.0", channels, config.channels * mult, width)
            channels = config.channels * mult
            if depth:
                yield from _transformer(f"input_blocks.{block}.1", channels, depth, config.context_dim)
            skips.append(channels)
            block += 1
        if level < last:
            yield from _layer(f"input_blocks.{block}.0.op", channels, channels, 3, 3)
            skips.append(channels)
            block += 1
    yield from _res_block("middle_block.0", channels, channels, width)
    if config.middle_depth:
        yield from _transformer("middle_block.1", channels, config.middle_depth, config.context_dim)
    yield from _res_block(f"middle_block.{1 + (config.middle_depth > 0)}", channels, channels, width)
    block = 0
    for level in reversed(range(last + 1)):
        outputs, depth = config.channels * config.mult[level], config.depths[level]
        for index in range(config.res_blocks + 1):
            name = f"output_blocks.{block}"
            yield from _res_block(f"{name}.0", channels + skips.pop(), outputs, width)
            channels = outputs
            if depth:
                yield from _transformer(f"{name}.1", channels, depth, config.context_dim)
            if level and index == config.res_blocks:
                yield from _layer(f"{name}.{1 + (depth > 0)}.conv", channels, channels, 3, 3)
            block += 1
    yield from _norm("out.0", config.channels)
    yield from _layer("out.2", config.out_channels, config.channels, 3, 3)


def clip(config: TextConfig) -> Pairs:
    """See ``cells/clip.py``."""
    width = config.width
    yield "text_model.embeddings.token_embedding.weight", (config.vocabulary, width)
    yield "text_model.embeddings.position_embedding.weight", (config.length, width)
    for index in range(config.layers):
        layer = f"text_model.encoder.layers.{index}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            yield from _layer(f"{layer}.self_attn.{part}", width, width)
        yield from _norm(f"{layer}.layer_norm1", width)
        yield from _layer(f"{layer}.mlp.fc1", 4 * width, width)
        yield from _layer(f"{layer}.mlp.fc2", width, 4 * width)
        yield from _norm(f"{layer}.layer_norm2", width)
    yield from _norm("text_model.final_layer_norm", width)


def open_clip(config: TextConfig) -> Pairs:
    """See ``cells/openclip.py``."""
    width = config.width
    yield "positional_embedding", (config.length, width)
    yield "text_projection", (width, width)
    yield "logit_scale", ()
    yield "token_embedding.weight", (config.vocabulary, width)
    for index in range(config.layers):
        block = f"transformer.resblocks.{index}"
        yield from _norm(f"{block}.ln_1", width)
        yield f"{block}.attn.in_proj_weight", (3 * width, width)
        yield f"{block}.attn.in_proj_bias", (3 * width,)
        yield from _layer(f"{block}.attn.out_proj", width, width)
        yield from _norm(f"{block}.ln_2", width)
        yield from _layer(f"{block}.mlp.c_fc", 4 * width, width)
        yield from _layer(f"{block}.mlp.c_proj", width, 4 * width)
    yield from _norm("ln_final", width)


def _resnet(name: str, inputs: int, outputs: int) -> Pairs:
    yield from _norm(f"{name}.norm1", inputs)
    yield from _layer(f"{name}.conv1", outputs, inputs, 3, 3)
    yield from _norm(f"{name}.norm2", outputs)
    yield from _layer(f"{name}.conv2", outputs, outputs, 3, 3)
    if inputs != outputs:
        yield from _layer(f"{name}.nin_shortcut", outputs, inputs, 1, 1)


def _middle(name: str, width: int) -> Pairs:
    yield from _resnet(f"{name}.block_1", width, width)
    yield from _norm(f"{name}.attn_1.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        yield from _layer(f"{name}.attn_1.{part}", width, width, 1, 1)
    yield from _resnet(f"{name}.block_2", width, width)


def vae(config: VAEConfig) -> Pairs:
    """See ``cells/vae.py``."""
    widths, latent = [config.channels * mult for mult in config.mult], config.latent_channels
    last = len(widths) - 1
    arms = (
        ("encoder", "down", config.res_blocks, [config.channels, *widths[:-1]], 3, 2 * latent),
        ("decoder", "up", config.res_blocks + 1, [*widths[1:], widths[-1]], latent, 3),
    )
    for arm, side, blocks, befores, inputs, outputs in arms:
        first, final = (config.channels, widths[-1]) if arm == "encoder" else (widths[-1], widths[0])
        yield from _layer(f"{arm}.conv_in", first, inputs, 3, 3)
        for level, (before, width) in enumerate(zip(befores, widths, strict=True)):
            for index in range(blocks):
                yield from _resnet(f"{arm}.{side}.{level}.block.{index}", before if index == 0 else width, width)
            if level < last if arm == "encoder" else level > 0:
                yield from _layer(f"{arm}.{side}.{level}.{side}sample.conv", width, width, 3, 3)
        yield from _middle(f"{arm}.mid", widths[-1])
        yield from _norm(f"{arm}.norm_out", final)
        yield from _layer(f"{arm}.conv_out", outputs, final, 3, 3)
    yield from _layer("quant_conv", 2 * latent, 2 * latent, 1, 1)
    yield from _layer("post_quant_conv", latent, latent, 1, 1)


def _prefixed(begin: str, pairs: Pairs) -> Shapes:
    return {begin + name: shape for name, shape in pairs}


def of(preset: Preset) -> Shapes:
    """All official names of a preset, with their shapes."""
    return {
        **_prefixed(UNET, unet(preset.unet)),
        **_prefixed(CLIP_L, clip(preset.clip_l)),
        **_prefixed(OPEN_CLIP, open_clip(preset.clip_g)),
        **_prefixed(VAE, vae(preset.vae)),
    }


def models() -> dict[str, Shapes]:
    """Every model that is known by name: the presets, and the refiner."""
    refiner = {
        **_prefixed(UNET, unet(REFINER)),
        **_prefixed(REFINER_CLIP, open_clip(BASE.clip_g)),
        **_prefixed(VAE, vae(BASE.vae)),
    }
    return {**{name: of(preset) for name, preset in PRESETS.items()}, "refiner": refiner}
