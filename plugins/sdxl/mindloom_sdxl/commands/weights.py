"""``mindloom weights``: look into weights files, convert, compare, mix and make them, without building a model."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mindloom import UserError
from mindloom.cli import Parser, complain, guarded
from mindloom.errors import unknown

from ..layouts.saving import DTYPES, LAYOUTS
from ..presets import PRESETS

PREDICTIONS = ("epsilon", "v_prediction", "edm")
PATHS = """A path is a single .safetensors file, a diffusers folder or one of its parts, a MindSpore .ckpt, a checkpoint
of this program, or a run folder. Files are read tensor by tensor: memory holds the largest tensor only."""
EXAMPLES = {
    "inspect": "mindloom weights inspect sd_xl_base_1.0.safetensors --json",
    "convert": "mindloom weights convert runs/mine/checkpoints/step-00002000 mine.safetensors --to single --dtype fp16",
    "init": "mindloom weights init --preset tiny tiny.safetensors --seed 1",
    "diff": "mindloom weights diff sd_xl_base_1.0.safetensors runs/mine/checkpoints/step-00002000",
    "merge": """mindloom weights merge a.safetensors b.safetensors mixed.safetensors --shares 0.7,0.3
  mindloom weights merge unet_only.safetensors whole.safetensors --base sd_xl_base_1.0.safetensors
  mindloom weights merge mine.safetensors fixed.safetensors --vae sdxl_vae_fp16_fix.safetensors""",
}


def main(argv: Sequence[str]) -> int:
    """Run ``mindloom weights`` with what stands behind it; return the exit code."""
    name, rest = (argv[0], argv[1:]) if argv else ("", [])
    if name in ACTIONS:
        about, arguments, work = ACTIONS[name]
        parser = Parser(
            prog=f"mindloom weights {name}",
            description=f"{about}.",
            epilog=f"{PATHS}\n\nexamples:\n  {EXAMPLES[name]}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        arguments(parser)
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        given = vars(parser.parse_args(rest))
        return guarded(lambda: work(given), given["debug"])
    if name and not name.startswith("-"):
        return complain(unknown(f"action {name!r} of mindloom weights", name, ACTIONS), [], UserError.exit_code)
    parser = Parser(prog="mindloom weights", description="Look after weights of SDXL.")
    listing = parser.add_subparsers(required=True, metavar="ACTION")
    for name, (about, _, _) in ACTIONS.items():
        listing.add_parser(name, help=about[0].lower() + about[1:])
    parser.parse_args(argv)  # shows the help, or complains
    return 0


def _inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="FILE", type=Path)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="A", type=Path)
    parser.add_argument("second", metavar="B", type=Path)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _out(parser: argparse.ArgumentParser, to: str | None = None) -> None:
    """What every action that writes takes."""
    told = "" if to is None else "; without it, by the name of OUT: .safetensors, .ckpt, or a folder"
    parser.add_argument("--to", choices=LAYOUTS, required=to is None, help=f"layout to write{told}")
    parser.add_argument("--dtype", choices=DTYPES, default="", help="dtype to write; without it, each tensor's own")
    parser.add_argument("--prediction", choices=PREDICTIONS, default="", help="what the UNet predicts, for other tools")
    parser.add_argument("--tokenizer", default="", metavar="PATH", help="vocabulary for the diffusers layout")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="IN", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path)
    _out(parser)


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--preset", choices=PRESETS, required=True)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed gives the same numbers [0]")
    _out(parser, to="")


def _merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="IN", type=Path, help="weights to mix; the last one is OUT")
    parser.add_argument("--shares", default="", metavar="X,Y", help="share of each IN; without it, equal ones")
    parser.add_argument("--base", type=Path, metavar="FULL", help="takes from FULL what the INs have not")
    parser.add_argument("--vae", default="", metavar="FILE", help="replaces the VAE")
    _out(parser, to="")


def _run(name: str) -> Callable[[dict[str, Any]], int]:
    def work(given: dict[str, Any]) -> int:
        from . import weights_work

        return int(getattr(weights_work, name)(given))

    return work


ACTIONS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[dict[str, Any]], int]]] = {
    "inspect": ("Tell what a file holds: layout, model, parts, dtypes, what is missing", _inspect, _run("inspect")),
    "convert": ("Write weights in another layout or dtype", _convert, _run("convert")),
    "init": ("Write random weights", _init, _run("init")),
    "diff": ("Compare two models block by block", _diff, _run("diff")),
    "merge": ("Mix models, complete a part, or replace the VAE", _merge, _run("merge")),
}
"""Action -> its help, what it takes, and what does it."""
