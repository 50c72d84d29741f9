"""The page of the command line, taken from the parsers that read it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from unittest import mock

from mindloom import cli, discovery

from .markdown import code, table

HEADS = {"positional arguments": "argument", "options": "flag"}
"""What argparse calls the groups that every command has of its own."""


class _Parsed(BaseException):
    """Stops a command at the moment when it has built its parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def parser_of(argv: list[str]) -> argparse.ArgumentParser:
    """The parser that a command line is read by, with the bundled plugins only, whatever else is installed."""

    def stop(self: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Parsed(self)

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(discovery, "_installed", return_value=()))
        for method in ("parse_args", "parse_known_args", "parse_intermixed_args", "parse_known_intermixed_args"):
            patches.enter_context(mock.patch.object(argparse.ArgumentParser, method, stop))
        try:
            cli.main(argv)
        except _Parsed as found:
            return found.parser
    raise SystemExit(f"mindloom {' '.join(argv)} builds no parser")


def subparsers(parser: argparse.ArgumentParser) -> dict[str, tuple[argparse.ArgumentParser, str]]:
    """Name -> parser and help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            return {name: (found, helps.get(name, "")) for name, found in action.choices.items()}
    return {}


@cache
def commands() -> dict[str, tuple[argparse.ArgumentParser, str]]:
    """Every command, such as ``data check``, with its parser and its help in a line."""

    def walk(
        argv: list[str], about: str, mine: argparse.ArgumentParser | None
    ) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
        found = parser_of(argv)
        if mine is not None and found.prog != mine.prog:
            found = mine  # the command reads all its actions with one parser
        below = subparsers(found)
        if argv and not below:
            yield " ".join(argv), found, about
        for name, (parser, help) in below.items():
            yield from walk([*argv, name], help, parser)

    return {name: (parser, about) for name, parser, about in walk([], "", None)}


def arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Title of each group, and (what is typed, meaning) of its arguments."""
    for group in parser._action_groups:
        rows = []
        for action in group._group_actions:
            if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
                continue
            value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
            value = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else str(value)
            typed = [f"{option} {value}".strip() for option in action.option_strings] or [value]
            about = (action.help or "") % {"default": action.default, "prog": parser.prog}
            rows.append(
                (
                    ", ".join(map(code, typed)),
                    about + (" (required)" if action.option_strings and action.required else ""),
                )
            )
        if rows:
            yield group.title or "", rows


def flags() -> set[str]:
    """Every flag of every command."""
    return {option for parser, _ in commands().values() for option in parser._option_string_actions}


def page() -> str:
    """The page. Groups that several commands share are told once."""
    parts = [
        "# Command line\n",
        "`mindloom COMMAND` and `python -m mindloom COMMAND` are the same; `python train.py` is `mindloom train`. "
        "Every command has `--help`. Exit codes: 0 done, 1 failed, 2 used wrongly, 128 + n stopped by signal n.\n",
    ]
    told: dict[tuple[str, ...], str] = {}
    for name, (parser, about) in commands().items():
        parts += [f"## mindloom {name}\n", f"{parser.description or about.capitalize() + '.'}\n"]
        again: dict[str, list[str]] = {}
        for title, rows in arguments(parser):
            text = table((HEADS.get(title, title), "meaning"), rows)
            first = told.setdefault((title, text), name)
            if first != name and title not in HEADS:
                again.setdefault(first, []).append(title)
            else:
                parts.append(text)
        for first, titles in again.items():
            parts.append(f"Also {', '.join(titles)}: as [mindloom {first}](#mindloom-{first.replace(' ', '-')}).\n")
        if parser.epilog:
            parts.append(f"```text\n{parser.epilog.strip()}\n```\n")
    return "\n".join(parts)
