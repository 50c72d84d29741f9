"""``mindloom plugins ACTION``: one table of what there is to do, and the way into it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..cli import Parser, complain, guarded
from ..discovery import Found
from ..errors import UserError, unknown
from . import creating, explaining, listing, showing


@dataclass(frozen=True)
class Action:
    """Something to do with plugins.

    Attributes:
        about: one line for the help.
        add_arguments: defines what the action takes; ``--debug`` is there already.
        run: does it with the parsed arguments and all plugins that there are, and returns the exit code.
    """

    about: str
    add_arguments: Callable[[argparse.ArgumentParser, dict[str, Found]], None]
    run: Callable[[Mapping[str, Any], dict[str, Found]], int]


ACTIONS: dict[str, Action] = {
    "list": Action("list the plugins there are", listing.add_arguments, listing.run),
    "show": Action("tell all about one plugin", showing.add_arguments, showing.run),
    "explain": Action("tell what a config makes of its plugins", explaining.add_arguments, explaining.run),
    "new": Action(
        "begin a plugin of your own",
        lambda parser, available: creating.add_arguments(parser),
        lambda arguments, available: creating.run(argparse.Namespace(**arguments)),
    ),
}


def main(argv: Sequence[str], available: dict[str, Found]) -> int:
    """Run ``mindloom plugins`` with what stands behind it; return the exit code."""
    name, rest = (argv[0], argv[1:]) if argv else ("", [])
    if name in ACTIONS:
        action = ACTIONS[name]
        parser = Parser(prog=f"mindloom plugins {name}", description=sentence(action.about), allow_abbrev=False)
        action.add_arguments(parser, available)
        if "--debug" not in parser._option_string_actions:
            parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        arguments = vars(parser.parse_intermixed_args(rest))
        return guarded(lambda: action.run(arguments, available), arguments["debug"])
    if name and not name.startswith("-"):
        return complain(unknown(f"action {name!r} of mindloom plugins", name, ACTIONS), [], UserError.exit_code)
    parser = Parser(prog="mindloom plugins", description="What can be switched on.")
    choices = parser.add_subparsers(required=True, metavar="ACTION")
    for name, action in ACTIONS.items():
        choices.add_parser(name, help=action.about)
    parser.parse_args(argv)  # shows the help, or complains
    return 0


def sentence(about: str) -> str:
    """Begin with a capital and end with a full stop."""
    return f"{about[:1].upper()}{about[1:]}."
