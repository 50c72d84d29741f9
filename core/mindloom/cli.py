"""The command line: ``mindloom train``, ``mindloom check``, ``mindloom plugins list``, and how errors are shown."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from .discovery import Found, discover
from .errors import TrainingError, UserError, unknown
from .flags import add_flags, apply_flags
from .folders import saved_config
from .layers import Layers
from .parsing import read_yaml

EXAMPLES = """examples:
  python train.py --config configs/demo.yaml
  python train.py --config my.yaml --plugins no:tensorboard max_steps=200 optim.lr=1e-5
  python train.py --config my.yaml --plugins ./my_logger.py
  python train.py --config my.yaml --resume latest
  python train.py --resume runs/2026-01-31_12-00-00

Settings are layered, later wins: defaults, config files in order, key=value, flags."""


class Parser(argparse.ArgumentParser):
    """Complains in one line, as everything else does, instead of printing a page of usage."""

    def error(self, message: str) -> NoReturn:
        _, found, flag = message.partition("unrecognized arguments: --")
        flag = flag.split()[0].partition("=")[0] if found else ""
        known = [name[2:] for name in self._option_string_actions if name.startswith("--")]
        text = unknown(f"flag --{flag}", flag, known) if flag else message
        self.exit(complain(f"{text} (see: {self.prog} --help)", [], UserError.exit_code))


def settings_parser(parser: argparse.ArgumentParser, available: dict[str, Found]) -> None:
    """Define what ``train`` and ``check`` take."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="set any setting, such as max_steps=100")
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="a YAML file; may be repeated")
    parser.add_argument(
        "--plugins", action="append", metavar="A,B,no:C", help="switch plugins on and off; ./file.py too"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    add_flags(parser, available.values())


def layers_of(arguments: dict[str, Any], available: dict[str, Found]) -> Layers:
    """Stack config files and command line; ``--resume PATH`` alone begins with the config saved there."""
    layers = Layers()
    resumed = None if arguments["config"] else saved_config(arguments["resume"] or "")
    for path in [resumed] if resumed else arguments["config"]:
        layers.add(str(path), read_yaml(path))
    apply_flags(layers, arguments, available)
    return layers


def train(arguments: dict[str, Any], available: dict[str, Found]) -> int:
    """Train, or list the plugins when asked for that only."""
    if arguments["list_plugins"]:
        return list_plugins(arguments, available)
    with locating_settings(arguments, available) as layers:
        if not (layers.enabled or layers.values):
            raise UserError("nothing to do: give --config FILE, such as configs/demo.yaml, or --plugins (see --help)")
        from .session import run

        return run(layers, available)


def check(arguments: dict[str, Any], available: dict[str, Found]) -> int:
    """Compile the step without data, weights or the device."""
    with locating_settings(arguments, available) as layers:
        from .check import run

        return run(layers, available, arguments["json"])


@contextmanager
def locating_settings(arguments: dict[str, Any], available: dict[str, Found]) -> Iterator[Layers]:
    """Yield the layers; an error that comes of a setting then says where it was set."""
    layers = Layers()
    try:
        layers = layers_of(arguments, available)
        yield layers
    except UserError as error:
        place = layers.origin(error.setting) if error.setting else ""
        raise UserError(
            f"{error} ({error.setting}: {place})" if place and place != "default" else str(error)
        ) from error


def list_plugins(arguments: dict[str, Any], available: dict[str, Found]) -> int:
    """Print name, version, origin and summary of every plugin, without importing one."""
    rows = sorted(available.values(), key=lambda found: found.name)
    if arguments.get("json"):
        print(
            json.dumps([{"name": f.name, "version": f.version, "where": f.where, "summary": f.summary} for f in rows])
        )
        return 0
    width = max((len(found.name) for found in rows), default=0)
    for found in rows:
        print(f"{found.name:<{width}}  {found.version:<8} {found.where:<10} {found.summary}")
    return 0


def parser_for(available: dict[str, Found], prog: str) -> argparse.ArgumentParser:
    """The parser of the console script with its sub-commands."""
    parser = Parser(prog=prog, description="A callback-driven trainer for MindSpore.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # Both are parsed by functions of their own: settings and flags may mix there.
    commands.add_parser("train", help="train a model")
    commands.add_parser("check", help="compile a config's training step for a device that is not here")
    plugins = commands.add_parser("plugins", help="what can be switched on")
    actions = plugins.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the plugins there are")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(function=list_plugins)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 1 failed, 2 used wrongly, 128 + n stopped by signal n."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["train"]:
        return main_train(argv[1:], prog="mindloom train")
    if argv[:1] == ["check"]:
        return main_check(argv[1:])
    available = discover()
    return guarded(vars(parser_for(available, "mindloom").parse_args(argv)), available)


def main_train(argv: Sequence[str] | None = None, prog: str = "train.py") -> int:
    """What ``train.py`` runs: the sub-command ``train`` without its name."""
    available = discover()
    parser = Parser(prog=prog, description="Train a model.", allow_abbrev=False)
    settings_parser(parser, available)
    parser.add_argument("--list-plugins", action="store_true", help="list the plugins there are, and end")
    arguments = vars(parser.parse_intermixed_args(argv))
    return guarded({**arguments, "function": train}, available)


def main_check(argv: Sequence[str]) -> int:
    """The sub-command ``check`` without its name: what ``train`` takes, and trains nothing."""
    available = discover()
    about = "Compile a config's whole training step, as far as that goes without its device, data and weights."
    parser = Parser(prog="mindloom check", description=about, allow_abbrev=False)
    settings_parser(parser, available)
    parser.add_argument("--json", action="store_true", help="report as JSON")
    arguments = vars(parser.parse_intermixed_args(argv))
    return guarded({**arguments, "function": check}, available)


def guarded(arguments: dict[str, Any], available: dict[str, Found]) -> int:
    """Run the chosen command; show errors to people as one line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("mindloom").setLevel(logging.INFO)
    try:
        return int(arguments["function"](arguments, available))
    except (UserError, TrainingError) as error:
        if arguments.get("debug"):
            traceback.print_exc()
        return complain(str(error), getattr(error, "__notes__", []), error.exit_code)
    except KeyboardInterrupt:
        return complain("interrupted", [], 130)
    except Exception as error:
        notes = getattr(error, "__notes__", [])
        if arguments.get("debug") or not notes:
            traceback.print_exc()
        return complain(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", notes, 1)


def complain(message: str, notes: Sequence[str], code: int) -> int:
    """Write an error to stderr."""
    print(f"mindloom: error: {message}", *(f"({note})" for note in notes), file=sys.stderr)
    return code


def entry() -> None:
    """The console script."""
    sys.exit(main())
