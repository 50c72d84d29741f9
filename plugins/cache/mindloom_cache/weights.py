"""Weights that are read only when something must be computed; their fingerprints are remembered by their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from .disk import writing

if TYPE_CHECKING:
    from mindloom.frozen import Frozen

FILE = "weights.json"


class Weights:
    """The weights of the frozen parts.

    Args:
        path: a file or folder.
    """

    def __init__(self, frozen: Frozen, path: Path) -> None:
        self.frozen, self.path, self.loaded = frozen, path, False

    def load(self) -> None:
        """Read them, once.

        Raises:
            UserError: they do not fit the model.
        """
        if not self.loaded:
            self.frozen.load(self.path)
            self.loaded = True

    def fingerprints(self, folder: Path) -> dict[str, str]:
        """Part -> fingerprint; the weights are read only when their files were not seen before."""
        if not self.path.exists():
            self.load()  # which says what is wrong with the path
        of, known = stamp(self.path), recall(folder)
        if not known.get(of, {}).keys() >= self.frozen.parts.keys():
            self.load()
            known[of] = {part: self.frozen.fingerprint(part) for part in self.frozen.parts}
            remember(folder, known)
        return known[of]


def stamp(path: Path) -> str:
    """Path, size and modification time of a file, or of every file in a folder."""
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    return json.dumps([[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files])


def recall(folder: Path) -> dict[str, dict[str, str]]:
    """What is remembered; nothing when the file is not there or not readable, for it can be made again."""
    try:
        known = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {str(of): {str(part): str(value) for part, value in parts.items()} for of, parts in known.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def remember(folder: Path, known: dict[str, dict[str, str]]) -> None:
    """Replace the file.

    Raises:
        TrainingError: the disk is full, or may not be written.
    """
    with writing(folder / FILE) as part:
        part.write_text(json.dumps(known, indent=1), encoding="utf-8")
