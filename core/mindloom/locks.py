"""One writer for a run folder: an advisory lock that the kernel lets go of when its process ends, however it ends."""

from __future__ import annotations

import errno
from typing import IO, Any

try:
    import fcntl
except ImportError:  # not a POSIX system: no locks
    fcntl = None  # type: ignore[assignment]

HELD = (errno.EAGAIN, errno.EACCES)


def lock(file: IO[Any]) -> bool:
    """Lock an open file until it is closed; return whether it was free.

    A file system that knows no locks, as some network disks, counts as free.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in HELD
    return True
