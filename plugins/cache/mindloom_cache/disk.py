"""What the disk refuses while the cache writes, in one line."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mindloom import TrainingError


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A name to write under, beside ``path``, which becomes ``path`` if all goes well.

    Raises:
        TrainingError: the disk is full, or may not be written.
    """
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise TrainingError(
            f"{path} cannot be written ({error.strerror}): free space or set plugins.cache.folder"
        ) from error
