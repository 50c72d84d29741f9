"""The command line: ``mindloom train``, ``check``, ``plugins``, ``data``, plugins' own, and how errors are shown."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from .blame import PluginError, summary
from .commands import commands
from .discovery import Found, discover
from .errors import TrainingError, UserError, unknown
from .flags import add_flags, apply_flags
from .folders import saved_config
from .layers import Layers
from .makers import PERHAPS
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
    parser.add_argument("--allow-env", action="store_true", help="settings may hold ${oc.env:NAME}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument(
        "--trace-plugins", action="store_true", help="print every hook call with its time, and who took how much of it"
    )
    add_flags(parser, available.values())


def layers_of(arguments: dict[str, Any], available: dict[str, Found]) -> Layers:
    """Stack config files and command line; ``--resume PATH`` alone begins with the config saved there."""
    layers = Layers(allow_env=arguments.get("allow_env", False))
    resumed = None if arguments["config"] else saved_config(arguments["resume"] or "")
    for path in [resumed] if resumed else arguments["config"]:
        layers.add(str(path), read_yaml(path))
    apply_flags(layers, arguments, available)
    return layers


def train(arguments: dict[str, Any], available: dict[str, Found]) -> int:
    """Train, or list the plugins when asked for that only."""
    if arguments["list_plugins"]:
        from .catalog.listing import run as list_plugins

        return list_plugins(arguments, available)
    with locating_settings(arguments, available) as layers:
        if not (layers.enabled or layers.values):
            raise UserError("nothing to do: give --config FILE, such as configs/demo.yaml, or --plugins (see --help)")
        from .session import run

        return run(layers, available, arguments["trace_plugins"])


def check(arguments: dict[str, Any], available: dict[str, Found]) -> int:
    """Compile the step without data, weights or the device."""
    with locating_settings(arguments, available) as layers:
        from .check import run

        return run(layers, available, arguments["json"], arguments["trace_plugins"])


@contextmanager
def locating_settings(arguments: dict[str, Any], available: dict[str, Found]) -> Iterator[Layers]:
    """Yield the layers; an error that comes of a setting then says where it was set."""
    layers = layers_of(arguments, available)
    with locating(layers):
        yield layers


@contextmanager
def locating(layers: Layers) -> Iterator[None]:
    """Say where the setting was set that an error comes of."""
    try:
        yield
    except UserError as error:
        moved = UserError(located(error, layers))
        for note in getattr(error, "__notes__", ()):
            moved.add_note(note)
        raise moved from error


def located(error: Exception, layers: Layers) -> str:
    """The message, with the place where the setting to blame was set."""
    setting = getattr(error, "setting", "")
    place = layers.origin(setting) if setting else "default"
    return str(error) if place == "default" else f"{error} ({setting}: {place})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 1 failed, 2 used wrongly, 128 + n stopped by signal n."""
    argv = sys.argv[1:] if argv is None else list(argv)
    name, rest = (argv[0], argv[1:]) if argv else ("", [])
    if name in COMMANDS:
        return COMMANDS[name][0](rest)
    brought = commands(discover())
    if name in brought:
        return guarded(lambda: brought[name].run(rest), "--debug" in rest or None)
    if name and not name.startswith("-"):
        return complain(unknown(f"command {name!r}", name, [*COMMANDS, *brought]), [], UserError.exit_code)
    parser = Parser(prog="mindloom", description="A callback-driven trainer for MindSpore.")
    listing = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (_, about) in COMMANDS.items():
        listing.add_parser(name, help=about)
    for name, command in sorted(brought.items()):
        listing.add_parser(name, help=command.about)
    parser.parse_args(argv)  # shows the help, or complains
    return 0


def main_train(argv: Sequence[str] | None = None, prog: str = "train.py") -> int:
    """What ``train.py`` runs: the sub-command ``train`` without its name."""
    available = discover()
    parser = Parser(prog=prog, description="Train a model.", allow_abbrev=False)
    settings_parser(parser, available)
    parser.add_argument("--list-plugins", action="store_true", help="list the plugins there are, and end")
    arguments = vars(parser.parse_intermixed_args(argv))
    return guarded(lambda: train(arguments, available), arguments["debug"])


def main_check(argv: Sequence[str]) -> int:
    """The sub-command ``check`` without its name: what ``train`` takes, and trains nothing."""
    available = discover()
    about = "Compile a config's whole training step, as far as that goes without its device, data and weights."
    parser = Parser(prog="mindloom check", description=about, allow_abbrev=False)
    settings_parser(parser, available)
    parser.add_argument("--json", action="store_true", help="report as JSON")
    arguments = vars(parser.parse_intermixed_args(argv))
    return guarded(lambda: check(arguments, available), arguments["debug"])


def main_plugins(argv: Sequence[str]) -> int:
    """The sub-command ``plugins`` without its name."""
    from .catalog.cli import main

    return main(argv, discover())


def main_data(argv: Sequence[str]) -> int:
    """The sub-command ``data`` without its name."""
    from .survey.cli import main

    return main(argv)


COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "train": (lambda argv: main_train(argv, prog="mindloom train"), "train a model"),
    "check": (main_check, "compile a config's training step for a device that is not here"),
    "plugins": (main_plugins, "list what can be switched on, and tell all about it"),
    "data": (main_data, "check a data set, or convert it to another format"),
}
"""The core's own sub-commands, each with its help: they parse what stands behind their name themselves."""


def guarded(work: Callable[[], int], debug: bool | None = None) -> int:
    """Do the work of a command and return its exit code; errors are shown to people as one line.

    Args:
        work: returns the exit code.
        debug: show tracebacks, too; None: the command may not know ``--debug``.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("mindloom").setLevel(logging.INFO)
    try:
        code = int(work())
        sys.stdout.flush()  # a pipe that nobody reads any more breaks here at the latest
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        return 128 + signal.SIGPIPE
    except (UserError, TrainingError) as error:
        notes = getattr(error, "__notes__", [])
        if debug:
            traceback.print_exc()
        elif (
            debug is False
            and isinstance(error, PluginError)
            and not any(note.startswith("traceback") for note in notes)
        ):
            notes = [*notes, "traceback: add --debug"]
        return complain(str(error), notes, error.exit_code)
    except KeyboardInterrupt:
        return complain("interrupted", [], 130)
    except Exception as error:
        notes = getattr(error, "__notes__", [])
        if debug or not notes:
            traceback.print_exc()
        nobody = [] if any(note.startswith(PERHAPS) for note in notes) else ["in no plugin's code"]
        return complain(summary(error), [*notes, *nobody], 1)


def complain(message: str, notes: Sequence[str], code: int) -> int:
    """Write an error to stderr."""
    print(f"mindloom: error: {message or 'no message'}", *(f"({note})" for note in notes), file=sys.stderr)
    return code


def entry() -> None:
    """The console script."""
    sys.exit(main())
