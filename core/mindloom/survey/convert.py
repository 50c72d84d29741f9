"""Writing a data set in another format: everything that is fine in it, in its order, or nothing at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import TrainingError, UserError
from ..formats import RawSample, WriteFormat
from .reading import Broken, Good


def free(path: Path) -> Path:
    """Return a path where a new folder can be put.

    Raises:
        UserError: something is there already.
    """
    if (path.exists() or path.is_symlink()) and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} is already there: name a new folder, or remove it")
    return path


def convert(looks: Iterable[Good | Broken], write: WriteFormat, path: Path) -> tuple[int, list[Broken]]:
    """Write samples below a name of its own beside ``path``, and rename the folder when it is complete.

    Returns:
        How many were written, and those that were left out because they are broken.

    Raises:
        UserError: the folder cannot be made.
        TrainingError: not all samples were written.
    """
    broken: list[Broken] = []
    good = 0

    def samples() -> Iterator[RawSample]:
        nonlocal good
        for look in looks:
            if isinstance(look, Broken):
                broken.append(look)
            else:
                good += 1
                yield {**look.sample, "id": look.id}

    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except OSError as error:
        raise UserError(f"{temporary.parent} cannot be written: {error.strerror}") from None
    try:
        written = write(samples(), temporary)
        if written != good:
            raise TrainingError(f"only {written} of {good} samples were written, so nothing is left of them")
        if good:
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return good, broken
