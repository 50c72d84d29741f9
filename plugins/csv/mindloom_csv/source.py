"""The samples of a folder, listed or in pairs, in an order that depends on names only."""

from __future__ import annotations

import hashlib
import os
import sys
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mindloom import UserError
from mindloom.formats import SampleError

from . import lines, table
from .columns import Columns
from .files import LISTS, ends, lists, pairs


class Samples:
    """An indexed source: ``{"image": bytes of the file, "caption": str, "id": path relative to the data folder}``.

    A million samples are two million strings and no more: paths stay relative, their folders are kept once.

    Args:
        root: ids are relative to it.
        entries: (folder, picture, caption or, see :class:`Pairs`, its file) of every sample, folder by folder.
    """

    def __init__(self, root: Path, entries: Iterable[tuple[str, str, str]]) -> None:
        self.folders: list[tuple[str, str]] = []
        self.folder_of = array("L")
        self.images: list[str] = []
        self.captions: list[str] = []
        for folder, image, caption in entries:
            if not self.folders or self.folders[-1][0] != folder:
                self.folders.append((folder, os.path.relpath(folder, root)))
            self.folder_of.append(len(self.folders) - 1)
            self.images.append(image)
            self.captions.append(caption)
        self.repeated = dict(self._repeated())

    def _repeated(self) -> Iterator[tuple[int, int]]:
        """Yield ``(index, 2)`` for the second sample with the same picture, and so on."""
        counts: dict[int, int] = {}  # of hashes: a million ids would take 100 MB for a moment
        for index in range(len(self.images)):
            key = hash(self._name(index))
            counts[key] = counts.get(key, 0) + 1
            if counts[key] > 1:
                yield index, counts[key]

    def _name(self, index: int) -> str:
        return os.path.normpath(os.path.join(self.folders[self.folder_of[index]][1], self.images[index]))

    def id(self, index: int) -> str:
        """The picture's path from the data folder; ``path#2`` when it is listed a second time."""
        name = self._name(index)
        return f"{name}#{self.repeated[index]}" if index in self.repeated else name

    def where(self, index: int) -> str:
        """The path of the picture."""
        return os.path.join(self.folders[self.folder_of[index]][0], self.images[index])

    def caption(self, index: int) -> str:
        """As listed."""
        return self.captions[index]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        with self._named(index) as where, open(where, "rb") as file:
            return {"image": file.read(), "caption": self.caption(index), "id": self.id(index), "where": where}

    def size(self, index: int) -> tuple[int, int]:
        """Width and height of the upright picture, from the beginning of its file."""
        from mindloom.images import size_of  # imports NumPy and Pillow, which listing does not need

        with self._named(index) as where, open(where, "rb") as file:
            # Whether the picture is too large to decode is not asked here.
            return size_of(file, sys.maxsize)

    def stamp(self, index: int) -> str:
        """Path, size and time of the picture, and a digest of the caption."""
        with self._named(index) as where:
            facts = os.stat(where)
            digest = hashlib.blake2b(self.caption(index).encode(), digest_size=8).hexdigest()
            return f"{os.path.abspath(where)} {facts.st_size} {facts.st_mtime_ns} {digest}"

    @contextmanager
    def _named(self, index: int) -> Iterator[str]:
        """Give errors the sample's id and place."""
        where = self.where(index)
        try:
            yield where
        except OSError as error:
            raise SampleError(f"cannot be read: {error.strerror}", self.id(index), where) from None
        except ValueError as error:
            raise SampleError(str(error), self.id(index), where) from None


class Pairs(Samples):
    """Pictures with a text file each; ``captions`` holds the names of the text files, read when their turn comes."""

    def caption(self, index: int) -> str:
        """The text of the file beside the picture.

        Raises:
            ValueError: there is none, or it cannot be read.
        """
        name = self.captions[index]
        if not name:
            raise ValueError(f"has no caption: write {Path(self.images[index]).stem}.txt beside it")
        try:
            with open(os.path.join(self.folders[self.folder_of[index]][0], name), encoding="utf-8-sig") as file:
                return file.read().strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"its caption {name} is not UTF-8 ({error.reason} at byte {error.start})") from None
        except OSError as error:
            raise ValueError(f"its caption {name} cannot be read: {error.strerror}") from None


def find(path: Path, columns: Columns) -> Samples:
    """The samples of a list file, or of a folder: those that list files name or, without any, pairs.

    Raises:
        UserError: there is neither, or a list file cannot be understood.
    """
    if not path.exists():
        raise UserError(f"{path} is neither a folder nor a file, which is all that lists are read from", "data.path")
    if path.is_file() and not ends(path.name, LISTS):
        raise UserError(f"{path} is no list: give a folder, or a *.{', *.'.join(LISTS)} file", "data.path")
    found = list(lists(path))
    if found:
        entries = ((str(file.parent), *row) for file in found for row in _rows(file, columns))
        return Samples(path.parent if path.is_file() else path, entries)
    beside = Pairs(path, pairs(path))
    if not any(beside.captions):
        wanted = ",".join(names[0] for names, _ in columns)
        raise UserError(
            f"{path} holds no *.csv file, nor {', '.join(f'*.{kind}' for kind in LISTS[1:])} or pictures with a .txt "
            f"each, nor do its sub-folders: add a .csv file with the header line {wanted}, or choose the format that "
            "reads what is there",
            setting="data.path",
        )
    return beside


def _rows(file: Path, columns: Columns) -> Iterator[tuple[str, str]]:
    return lines.rows(file, columns) if ends(file.name, ("jsonl",)) else table.rows(file, columns)
