"""``mindloom sample``: pictures of prompts from any weights, reproducible to the noise."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mindloom import UserError
from mindloom.blame import blaming
from mindloom.cli import Parser, guarded, locating
from mindloom.discovery import Found, discover
from mindloom.files import PICTURES, ends
from mindloom.flags import apply_flags
from mindloom.graphs import open_cache
from mindloom.layers import Layers
from mindloom.parsing import nest
from mindloom.prompts import read_prompts
from mindloom.run import Run
from mindloom.session import LOG, configure, load_plugins
from mindloom.world import World

from ..presets import PRESETS
from .sample_inputs import fitting_size, initial_latents, known_settings

SCHEDULERS = ("euler", "euler_karras")
HELP = """settings (key=value) are those of plugins.sdxl, such as plugins.sdxl.tokenizer=FOLDER, and of device. Weights
of a run bring the run's own settings along.

examples:
  mindloom sample --weights sd_xl_base_1.0.safetensors --prompt "a red disc" --seed 7 --out disc.png
  mindloom sample --weights runs/mine --prompts prompts.txt --size 1152x896 --batch 4 --out pictures/"""


def main(argv: Sequence[str]) -> int:
    """Run ``mindloom sample`` with what stands behind it; return the exit code."""
    parser = Parser(
        prog="mindloom sample", description="Draw pictures.", epilog=HELP, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("overrides", nargs="*", metavar="key=value", help="any other setting")
    add("--weights", required=True, type=Path, metavar="FILE", help="single file, diffusers folder, checkpoint, run")
    add("--prompt", action="append", default=[], metavar="TEXT", help="what to draw; may be repeated")
    add("--prompts", metavar="FILE", help="prompts, one a line")
    add("--negative", metavar="TEXT", help="what to keep away from [nothing, in the form that the model learnt]")
    add("--out", type=Path, metavar="PATH", help="a .png, which holds all pictures, or a folder for one file each")
    add("--seed", default="0", metavar="N", help="fixes the noise, together with a picture's number [0]")
    add("--first", type=natural, default=0, metavar="N", help="number of the first picture [0]")
    add("--steps", type=positive, metavar="N", help="UNet calls for a picture [25]")
    add("--guidance", type=float, metavar="W", help="strength of classifier-free guidance; 1: none [5]")
    add("--scheduler", choices=SCHEDULERS, default="euler", help="noise levels evenly in time, or Karras's [euler]")
    add("--size", type=size, metavar="WxH", help="of the pictures in pixels [the preset's]")
    add("--original_size", type=size, metavar="WxH", help="what size the model shall take the picture to have had")
    add("--crop", type=corner, default=(0, 0), metavar="TOP,LEFT", help="where it shall take it to be cropped [0,0]")
    add("--target_size", type=size, metavar="WxH", help="what size it shall take it to be scaled to [--size]")
    add("--batch", type=positive, metavar="N", help="pictures drawn at once [1]")
    add("--preset", metavar="NAME", help="base or tiny [what the weights are]")
    add("--dtype", choices=("float32", "float16"), default="float32", help="of the networks, but the VAE [float32]")
    add("--device_target", metavar="X", help="CPU, GPU or Ascend [CPU]")
    add("--plugins", action="append", metavar="A,B", help="plugins that alter the model, such as an attention")
    add("--latents", type=Path, metavar="FILE.npy", help="initial latents of unit variance instead of the seed's")
    add("--save_latents", type=Path, metavar="FILE.npy", help="write the final latents too, or only them")
    add("--debug", action="store_true", help="show the traceback of an error")
    arguments = vars(parser.parse_intermixed_args(argv))
    return guarded(lambda: run(arguments, discover()), arguments["debug"])


def whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, not {text!r}")
    return int(text)


def natural(text: str) -> int:
    return whole(text, 0)


def positive(text: str) -> int:
    return whole(text, 1)


def size(text: str) -> tuple[int, int]:
    """``1152x896`` or ``1024`` -> height and width."""
    found = re.fullmatch(r"([1-9]\d{0,4})(?:[xX]([1-9]\d{0,4}))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT in pixels such as 1152x896, not {text!r}")
    return int(found[2] or found[1]), int(found[1])


def corner(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5}),(\d{1,5})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be TOP,LEFT in pixels such as 0,64, not {text!r}")
    return int(found[1]), int(found[2])


def run(arguments: dict[str, Any], available: dict[str, Found]) -> int:
    """Draw what was asked for; refuse what cannot be before anything slow."""
    prompts = [*arguments["prompt"], *(read_prompts(arguments["prompts"]) if arguments["prompts"] else [])]
    if not prompts:
        raise UserError("nothing to draw: give --prompt TEXT or --prompts FILE")
    check_places(arguments["out"], arguments["save_latents"])
    layers = Layers()
    layers.enable("sdxl", "mindloom sample")
    with locating(layers):
        for origin, content in known_settings(arguments["weights"]):
            layers.set(nest("plugins.sdxl", content), origin)
        apply_flags(layers, arguments, available)
        flags = {
            "weight": str(arguments["weights"]),
            "plugins.sdxl.preset": arguments["preset"],
            "plugins.sdxl.sample_steps": arguments["steps"],
            "plugins.sdxl.guidance": arguments["guidance"],
            "plugins.sdxl.sample_batch": arguments["batch"],
        }
        for key, value in flags.items():
            if value is not None:
                layers.set(nest(key, value), "flag")
        return paint(layers, available, arguments, prompts)


def check_places(out: Path | None, latents_out: Path | None) -> None:
    """Make the folders to write to.

    Raises:
        UserError: there are none, or they cannot be made.
    """
    if out is None and latents_out is None:
        raise UserError("nowhere to write to: give --out PICTURE.png or --out FOLDER")
    if out is not None and out.suffix.lower() != ".png" and (out.is_file() or ends(out.name, PICTURES)):
        raise UserError(f"--out {out}: pictures are written as .png; give such a name, or a folder")
    for path, is_file in ((out, out is not None and out.suffix.lower() == ".png"), (latents_out, True)):
        if path is None:
            continue
        folder = path.parent if is_file else path
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the folder {folder} cannot be made ({error.strerror}): choose another place") from None


def paint(layers: Layers, available: Mapping[str, Found], arguments: dict[str, Any], prompts: list[str]) -> int:
    """Refuse sizes that cannot be, set up the device, load and draw."""
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's warnings about a CPU are noise
    cfg, registry = configure(layers, load_plugins(layers, available))
    sdxl = cfg.plugins.sdxl
    preset = PRESETS[sdxl.preset]
    try:
        noise = initial_latents(arguments["latents"], preset, len(prompts)) if arguments["latents"] else None
        side = sdxl.resolution or preset.resolution
        size = fitting_size(arguments["size"] or (side, side), preset, noise, bool(arguments["size"]))
        with blaming(registry.plugins):
            this = Run(cfg, registry, LOG, Path())
            this.device, this.world = registry.call("make_device", cfg=cfg), World()
            this.graphs = open_cache(this)
            from ..preview import Painter
            from ..sampling import Wish, draw, load

            task = load(this, arguments["weights"].expanduser(), arguments["dtype"] == "float16")
            assert task.previewer is not None
            assert task.tokenizer is not None
            wish = Wish(
                prompts=prompts,
                negative=arguments["negative"] if task.previewer.zero_empty else arguments["negative"] or "",
                seed=cfg.seed,
                first=arguments["first"],
                steps=sdxl.sample_steps,
                scheduler=arguments["scheduler"],
                size=size,
                original=arguments["original_size"] or size,
                crop=arguments["crop"],
                target=arguments["target_size"] or size,
                batch=min(sdxl.sample_batch, len(prompts)),
                weights=arguments["weights"],
                noise=noise,
                out=arguments["out"],
                latents_out=arguments["save_latents"],
            )
            painter = Painter(task.model, task.tokenizer, sdxl.guidance, task.objective, wish.scheduler)
            for cell in painter.cells:
                this.cache_graphs(cell)
            print("\n".join(map(str, draw(wish, painter))))
            if this.graphs is not None:
                this.graphs.close(survived=True)
        return 0
    finally:
        registry.close(LOG)
