"""The samples that a folder's CSV files list, in an order that depends on names only."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mindloom import UserError

from .table import rows


def csv_files(path: Path) -> Iterator[Path]:
    """Yield a file itself, or the CSV files of a folder: its own by name, then those of its sub-folders by name.

    Links to folders are followed, each folder once. Hidden files are left out: macOS puts binary ``._name.csv`` beside
    every file that it copies.
    """
    if path.is_file():
        yield path
        return
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(".csv") and not name.startswith("."):
                yield Path(folder, name)


class Listed:
    """An indexed source: ``{"image": bytes of the file, "caption": str, "id": path relative to the data folder}``.

    A million rows are two million strings and no more: paths stay relative, their folders are kept once for each file.

    Args:
        path: a folder or a CSV file.
        columns: setting -> name of the column; that of images, then that of captions.

    Raises:
        UserError: there is no CSV file, or one of them cannot be understood.
    """

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        self.folders: list[tuple[str, str]] = []
        self.folder_of = array("L")
        self.images: list[str] = []
        self.captions: list[str] = []
        root = path.parent if path.is_file() else path
        for file in csv_files(path):
            self.folders.append((str(file.parent), file.parent.relative_to(root).as_posix()))
            for image, caption in rows(file, columns):
                self.folder_of.append(len(self.folders) - 1)
                self.images.append(image)
                self.captions.append(caption)
        if not self.folders:
            wanted = ",".join(columns.values())
            raise UserError(
                f"{path} holds no *.csv file, nor do its sub-folders: add one with the header line {wanted}",
                setting="data.path",
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        folder, relative = self.folders[self.folder_of[index]]
        image = self.images[index]
        with open(os.path.join(folder, image), "rb") as file:
            data = file.read()
        return {"image": data, "caption": self.captions[index], "id": os.path.normpath(os.path.join(relative, image))}
