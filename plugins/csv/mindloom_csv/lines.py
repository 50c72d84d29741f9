"""Reading one JSON Lines file: an object a line, with the line in every error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mindloom import UserError

from .columns import Columns


class Number(str):
    """A number as it is written, so that 1.50 stays 1.50 and a million digits are no work."""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_refuse)


def rows(path: Path, columns: Columns) -> Iterator[tuple[str, str]]:
    """Yield picture and caption of every object; empty lines are skipped, a caption that is a number is its text.

    Args:
        path: UTF-8, with or without a byte order mark.
        columns: what the two keys are called.

    Raises:
        UserError: the file cannot be read, or a line is no object, lacks a key, or has something else than text there.
    """
    try:
        with open(path, "rb") as file:
            for number, raw in enumerate(file, 1):
                line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
                if line.strip():
                    entry = _parse(line, f"{path}, line {number}")
                    image, caption = (_pick(entry, *column, f"{path}, line {number}") for column in columns)
                    if not image:
                        raise UserError(f"{path}, line {number} names no picture: fill it in or remove the line")
                    yield image, caption
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _parse(line: bytes, place: str) -> Mapping[str, Any]:
    try:
        entry = DECODER.decode(line.decode())
    except UnicodeDecodeError as error:
        raise UserError(f"{place} is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        raise UserError(f"{place} is broken JSON ({reason}): repair or remove the line") from None
    if not isinstance(entry, dict):
        raise UserError(f'{place} is no JSON object: write {{"file_name": "...", "text": "..."}}')
    return entry


def _pick(entry: Mapping[str, Any], names: Sequence[str], setting: str, place: str) -> str:
    name = next((name for name in names if name in entry), None)
    if name is None:
        found = ", ".join(map(repr, entry))[:100] or "nothing"
        raise UserError(f"{place} has no key {names[-1]!r} but {found}: add it or set {setting}", setting=setting)
    value = entry[name]
    if not isinstance(value, str):
        kind = {dict: "an object", list: "a list", bool: "true or false"}.get(type(value), "null")
        raise UserError(f"{place}: {name!r} is {kind}: make it text or remove the line")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UserError(f"{place}: {name!r} holds half of a surrogate pair: repair or remove the line")
    return value.strip()
