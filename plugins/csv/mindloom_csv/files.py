"""Which files of a folder are lists, and which are pictures with a caption beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mindloom.files import PICTURES, ends, walk

LISTS = ("csv", "tsv", "jsonl")


def lists(path: Path) -> Iterator[Path]:
    """Yield a file itself, or the list files of a folder: its own by name, then those of its sub-folders by name."""
    if path.is_file():
        yield path
        return
    for folder, files in walk(str(path)):
        yield from (Path(folder, name) for name in files if ends(name, LISTS))


def pairs(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield ``(folder, picture, caption file)`` for the pictures of a folder and its sub-folders.

    The caption file, ``wren.txt`` for ``wren.jpg``, is empty for a picture that has none.
    """
    for folder, files in walk(str(path)):
        captions = {os.path.splitext(name)[0]: name for name in files if ends(name, ("txt",))}
        for name in files:
            if ends(name, PICTURES):
                yield folder, name, captions.get(os.path.splitext(name)[0], "")
