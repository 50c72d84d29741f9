"""Writing samples as a folder of pictures and one list, ``data.csv``."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from pathlib import Path

from mindloom.files import PICTURES, ends, picture_kind
from mindloom.formats import RawSample

LIST = "data.csv"
LONGEST = 120
"""Bytes of a part of a path; file systems allow 255, and a number and a suffix are added."""


def suffix(data: bytes, name: str) -> str:
    """The suffix that belongs to a picture, by its first bytes; by its name when they are unknown."""
    if kind := picture_kind(data):
        return f".{kind}"
    return os.path.splitext(name)[1].lower() if ends(name, PICTURES) else ".bin"


def safe(id: str) -> list[str]:
    """Make the parts of a relative path from an id, without what some system refuses; nothing is absolute or upward."""
    parts = (re.sub(r'[\x00-\x1f\x7f<>:"|?*\ud800-\udfff]', "_", part).strip(" .") for part in re.split(r"[/\\]", id))
    return [part.encode()[:LONGEST].decode(errors="ignore") for part in parts if part] or ["sample"]


class Names:
    """Hands out each path once, on file systems too that take ``A`` for ``a``."""

    def __init__(self) -> None:
        self.folders: set[str] = set()
        self.files = {LIST}

    def take(self, id: str, data: bytes) -> str:
        """A free path for the picture of a sample, with forward slashes."""
        *folders, name = safe(id)
        path = ""
        for folder in folders:
            path += folder
            while path.casefold() in self.files:
                path += "_"
            self.folders.add(path.casefold())
            path += "/"
        stem = os.path.splitext(name)[0] if ends(name, PICTURES) else name
        ending, count = suffix(data, name), 1
        free = f"{path}{stem}{ending}"
        while free.casefold() in self.files or free.casefold() in self.folders:
            count += 1
            free = f"{path}{stem}-{count}{ending}"
        self.files.add(free.casefold())
        return free


def write(samples: Iterable[RawSample], folder: Path) -> int:
    """Write pictures, named after the samples' ids, and ``data.csv`` with the columns ``dir`` and ``text``.

    Returns:
        Number of samples written.
    """
    names, count = Names(), 0
    with open(folder / LIST, "w", encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.writer(file)  # its line end \r\n stays: captions that hold a lone \r are quoted because of it
        rows.writerow(["dir", "text"])
        for sample in samples:
            name = names.take(sample["id"], sample["image"])
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(sample["image"])
            rows.writerow([name, sample["caption"].strip()])
            count += 1
    return count
