"""Where a measured run's standard error goes: a file, or a terminal that nobody looks at."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def in_file() -> Iterator[None]:
    """Stderr goes to a file, as in a batch job."""
    with tempfile.TemporaryFile("w") as file, standard_error(file):
        yield


@contextmanager
def on_terminal() -> Iterator[None]:
    """Stderr is a terminal of 100 columns, read by another process."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    os.environ["TERM"] = "xterm"
    with subprocess.Popen(["cat"], stdin=master, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as reader:
        os.close(master)
        try:
            with os.fdopen(slave, "w") as file, standard_error(file):
                yield
        finally:
            reader.terminate()


@contextmanager
def standard_error(file: Any) -> Iterator[None]:
    """Log to a file in stderr's place, as the command line does to stderr."""
    before, sys.stderr = sys.stderr, file
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=file, force=True)
    try:
        yield
    finally:
        logging.basicConfig(handlers=[logging.NullHandler()], force=True)
        sys.stderr = before
