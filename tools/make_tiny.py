"""Train the tiny SDXL base model from scratch on drawn shapes: the weights that the demo fine-tunes.

    python tools/make_tiny.py --out plugins/sdxl/mindloom_sdxl/assets/tiny.safetensors

Two stages, each leaving its result in the work folder, so that `--stage unet` can be run again alone: the autoencoder,
then the UNet on latents and text that were encoded once. The text encoders stay as they were drawn: random, but every
word has a direction of its own, which is all that such captions need. Needs the packages mindloom and mindloom_sdxl.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import mindspore as ms
import numpy as np
from draw_shapes import choose_scene
from mindloom.grid import grid
from mindloom_sdxl.cells.model import SDXLModel
from mindloom_sdxl.presets import PRESETS
from mindloom_sdxl.preview import Previewer
from mindloom_sdxl.tokens import load_tokenizer
from mindloom_sdxl.weights import load_weights, save_weights
from PIL import Image
from read_shapes import score
from tiny_data import SIDE, base_pictures, to_pixels, varied_pictures
from tiny_unet import train_unet
from tiny_vae import decode_all, encode_all, normalise_latents, train_vae

LIMIT = 8_000_000
"""Bytes: the file travels with the package."""


def run_vae(model: SDXLModel, args: argparse.Namespace) -> None:
    pictures = base_pictures(args.work, args.pictures, args.seed)
    varied = varied_pictures(args.work, args.pictures // 2, args.seed)
    pixels = np.concatenate([pictures.pixels, varied])
    vae = model.first_stage_model
    loss = train_vae(
        vae, pixels, args.vae_steps, args.vae_whole_steps, args.vae_batch, args.vae_rate, args.kl_weight, args.seed
    )
    means, _ = encode_all(vae, pictures.pixels[:512])
    normalise_latents(vae, means)
    shown = np.concatenate([pictures.pixels[:16], varied[:16]])
    means, deviations = encode_all(vae, shown)
    scaled = means * np.float32(vae.config.scale)
    decoded = to_pixels(decode_all(vae, scaled))
    originals = list(shown.transpose(0, 2, 3, 1))
    error = np.mean([np.square(a.astype(np.float32) - b) for a, b in zip(decoded, originals, strict=True)])
    print(
        f"vae: final loss {loss:.4f}, reconstruction {10 * np.log10(255**2 / error):.1f} dB, scaled latents: mean "
        f"{scaled.mean():.2f}, deviation {scaled.std():.2f}, noise {vae.config.scale * deviations.mean():.3f}"
    )
    pairs = [picture for pair in zip(originals, decoded, strict=True) for picture in pair]
    Image.fromarray(grid(pairs, columns=8)).save(args.work / "vae.png")
    save_weights(model, args.work / "vae.safetensors")


def run_unet(model: SDXLModel, args: argparse.Namespace) -> None:
    pictures = base_pictures(args.work, args.pictures, args.seed)
    scale = np.float32(model.preset.vae.scale)
    means, deviations = (scale * part for part in encode_all(model.first_stage_model, pictures.pixels))
    print(f"unet: {len(means)} latents, mean {means.mean():.2f}, deviation {means.std():.2f}", flush=True)
    loss = train_unet(
        model, (means, deviations), pictures.captions, pictures.time_ids, args.unet_steps, args.unet_batch,
        args.unet_rate, args.caption_dropout, args.seed,
    )  # fmt: skip
    print(f"unet: final loss {loss:.4f}")
    save_weights(model, args.work / "unet.safetensors")


def preview(model: SDXLModel, args: argparse.Namespace) -> None:
    """Captions of both themes; the second half holds words that the base has never seen, and must come out wrong."""
    draw = Previewer(
        model, load_tokenizer("", "tiny"), size=SIDE, steps=args.sample_steps, guidance=args.guidance, zero_empty=False,
        batch=16,
    )  # fmt: skip
    for theme in ("base", "demo"):
        scenes = [choose_scene(np.random.default_rng([args.seed, 5, index]), theme) for index in range(64)]
        captions = [scene.caption for scene in scenes if not scene.pattern][:32]
        drawn = draw(captions, args.seed)
        Image.fromarray(grid(drawn, captions, columns=8, lines=3)).save(args.work / f"samples-{theme}.png")
        shares = ", ".join(f"{name} {share:.0%}" for name, share in score(drawn, captions).items())
        print(f"samples for captions of the theme {theme}: {shares}", flush=True)


def save_small(model: SDXLModel, out: Path) -> None:
    """Write float16; refuse what would not fit into the package."""
    half = SDXLModel(model.preset)
    for target, parameter in zip(half.get_parameters(), model.get_parameters(), strict=True):
        target.set_dtype(ms.float16)
        target.set_data(ms.Tensor(parameter.asnumpy().astype(np.float16)))
    save_weights(half, out)
    size = out.stat().st_size
    print(f"{out}: {size} bytes")
    if size > LIMIT:
        raise SystemExit(f"{out} has {size} bytes, more than {LIMIT}: make the preset 'tiny' smaller")


def main(argv: list[str] | None = None) -> None:
    began = time.perf_counter()
    args = parse(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(args.seed)
    model = SDXLModel(PRESETS["tiny"])
    count = sum(parameter.size for parameter in model.get_parameters())
    print(f"preset tiny: {count} parameters, {sum(p.size for p in model.trainable_params())} of them in the UNet")
    if args.stage in ("vae", "all"):
        run_vae(model, args)
        print(f"stage vae done after {(time.perf_counter() - began) / 60:.1f} min", flush=True)
    if args.stage in ("unet", "all"):
        load_weights(model, args.work / "vae.safetensors")
        run_unet(model, args)
        # What is judged is what is shipped: rounded to float16.
        save_small(model, args.out)
        load_weights(model, args.out)
        if args.sample_steps:
            preview(model, args)
    print(f"total {(time.perf_counter() - began) / 60:.1f} min", flush=True)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0] if __doc__ else None, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write, float16")
    parser.add_argument("--work", type=Path, default=Path("tiny-work"), help="folder for pictures, stages and previews")
    parser.add_argument("--stage", choices=("vae", "unet", "all"), default="all")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--pictures", type=int, default=6000, help="pictures of the theme `base`")
    parser.add_argument("--vae-steps", type=int, default=2600, help="on crops of 64x64")
    parser.add_argument("--vae-whole-steps", type=int, default=400, help="on whole pictures, half the batch")
    parser.add_argument("--vae-batch", type=int, default=8)
    parser.add_argument("--vae-rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--kl-weight", type=float, default=1e-3)
    parser.add_argument("--unet-steps", type=int, default=3000)
    parser.add_argument("--unet-batch", type=int, default=32)
    parser.add_argument("--unet-rate", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--caption-dropout", type=float, default=0.1)
    parser.add_argument("--guidance", type=float, default=3.0, help="of the sample grids")
    parser.add_argument("--sample-steps", type=int, default=30, help="0 draws no samples")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
