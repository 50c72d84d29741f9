"""Patterns of shards: ``{000..012}``, ``{a,b}``, ``*``, ``?``, ``[...]``, in paths and in URLs."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Iterator

MOST = 1_000_000
"""More numbers than that in one pair of braces are a slip of the pen, and stay as they are."""


def is_url(text: str) -> bool:
    """Whether reading it runs a program or needs a network: ``pipe:...`` or ``scheme://...``."""
    return re.match(r"pipe:|[a-zA-Z][a-zA-Z0-9+.-]*://", text) is not None


def expanded(pattern: str) -> Iterator[str]:
    """Yield what a pattern stands for: every choice of its braces, then what matches ``*``, ``?`` or ``[...]``."""
    for text in _braces(pattern):
        if not is_url(text) and glob.has_magic(text) and not os.path.exists(text):
            yield from sorted(glob.glob(text, recursive=True))
        else:
            yield text


def _braces(text: str) -> Iterator[str]:
    """Expand ``{a,b}`` and ``{08..11}``, nested ones too, as a shell does; other braces stay as they are."""
    for brace in re.finditer("{", text):
        depth, cuts = 0, [brace.start()]
        for place, letter in enumerate(text[brace.start() :], brace.start()):
            depth += (letter == "{") - (letter == "}")
            if depth == 0 or (depth == 1 and letter == ","):
                cuts.append(place)
            if depth == 0:
                break
        parts = [text[first + 1 : last] for first, last in itertools.pairwise(cuts)]
        parts = _range(parts[0]) if len(parts) == 1 else parts
        if depth == 0 and parts:
            tails = list(_braces(text[place + 1 :]))
            for part in parts:
                yield from (text[: brace.start()] + head + tail for head in _braces(part) for tail in tails)
            return
    yield text


def _range(text: str) -> list[str]:
    found = re.fullmatch(r"(\d{1,9})\.\.(\d{1,9})", text)
    if found is None or abs(int(found[1]) - int(found[2])) >= MOST:
        return []
    first, last = found.groups()
    width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 0
    step = 1 if int(first) <= int(last) else -1
    return [str(number).zfill(width) for number in range(int(first), int(last) + step, step)]
