"""``state.json``: the last file of a checkpoint to be written, which lists all others with size and hash."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mindloom import TrainingError
from mindloom.checkpoint import FORMAT, GROUPS

from .durable import sha256_of, write

STATE = "state.json"
SUFFIX = ".safetensors"

KINDS: dict[str, tuple[type, int | None]] = {
    "step": (int, 0),
    "position": (int, 0),
    "world_size": (int, 1),
    "seed": (int, None),
    "altered_by": (list, None),
    "data": (dict, None),
    "plugins": (dict, None),
}
"""Entry of ``state.json`` -> what it is, and the least number that it may be."""

Receipts = dict[str, dict[str, Any]]
"""File name -> ``{"size": bytes, "sha256": hex}``."""


class UnusableError(Exception):
    """A folder is no complete checkpoint; the message says what is wrong with it."""


@dataclass(frozen=True)
class Entry:
    """A complete checkpoint: every file is there with its full size. Hashes are compared only when it is loaded.

    Attributes:
        path: its folder.
        step: optimizer steps done.
        saved_at: seconds since the epoch, greater than those of the run's checkpoints before it. It is recorded, for
            copying a folder changes modification times.
        meta: the snapshot's.
        files: what there is besides ``state.json``.
    """

    path: Path
    step: int
    saved_at: float
    meta: dict[str, Any]
    files: Receipts

    @property
    def age(self) -> tuple[float, int]:
        """Sorts the newest last."""
        return self.saved_at, self.step


def write_state(folder: Path, meta: Mapping[str, Any], files: Receipts, saved_at: float) -> None:
    """Write ``state.json``.

    Raises:
        TrainingError: a plugin's state is neither JSON nor arrays.
    """
    for name, state in meta["plugins"].items():
        try:
            json.dumps(state)
        except (TypeError, ValueError) as error:
            reason = f"the state_dict of plugin {name!r} must hold JSON and arrays only: {error}"
            raise TrainingError(f"not saved: {reason}") from None
    write(folder / STATE, json.dumps({**meta, "saved_at": saved_at, "files": files}, indent=1).encode())


def read_entry(folder: Path) -> Entry:
    """Read ``state.json`` and compare the sizes of all files.

    Raises:
        UnusableError: something is missing, of the wrong size, or of another format.
    """
    try:
        meta = json.loads((folder / STATE).read_text(encoding="utf-8"))
        form, files, saved_at, step = meta["format"], meta.pop("files"), float(meta["saved_at"]), meta["step"]
        sizes = {name: int(receipt["size"]) for name, receipt in files.items()}
    except FileNotFoundError:
        raise UnusableError(f"{STATE} is missing") from None
    except OSError as error:
        raise UnusableError(f"{STATE} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnusableError(f"{STATE} is damaged") from None
    if form != FORMAT:
        raise UnusableError(f"it has format {form}, this mindloom reads format {FORMAT}")
    if wrong := nonsense(meta):
        raise UnusableError(f"{STATE} is damaged: {wrong}")
    for name in [group + SUFFIX for group in GROUPS]:
        if name not in sizes:
            raise UnusableError(f"{STATE} does not list {name}")
    for name, size in sizes.items():
        _check_size(folder / name, size)
    return Entry(folder, step, saved_at, meta, files)


def nonsense(meta: Mapping[str, Any]) -> str:
    """Say which entry cannot be what a run wrote; empty if there is none."""
    for key, (kind, low) in KINDS.items():
        value = meta.get(key, kind())
        if not isinstance(value, kind) or isinstance(value, bool):
            return f"its {key} is {reprlib.repr(value)}, which is no {kind.__name__}"
        if isinstance(value, int) and low is not None and key in meta and value < low:
            return f"its {key} is {value}, which is below {low}"
    return ""


def _check_size(path: Path, size: int) -> None:
    try:
        actual = path.stat().st_size
    except OSError:
        raise UnusableError(f"{path.name} is missing") from None
    if actual != size:
        raise UnusableError(f"{path.name} has {actual} bytes instead of {size}")


def check_hashes(entry: Entry) -> None:
    """Compare every file with its hash.

    Raises:
        UnusableError: a file is not what was written.
    """
    for name, receipt in entry.files.items():
        if sha256_of(entry.path / name) != receipt["sha256"]:
            raise UnusableError(f"{name} is damaged: its SHA-256 is not the one in {STATE}")
