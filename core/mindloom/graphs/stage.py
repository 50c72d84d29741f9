"""The private folder of this process in which MindSpore writes a graph, or finds one, and its switches for that.

Written to MindSpore 2.8: it takes the folder once for the life of a process, numbers the graphs that it compiles while
its cache is on, and names files by these numbers. It compares one digest, of the files that the start script imports;
when that differs, or one graph is not there, it stops looking for all later ones. Looking is therefore forced here:
whether a graph fits has been decided before it is put into the folder.
"""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mindspore as ms
from mindspore.common import api

FORCE = "MS_DEV_FORCE_USE_COMPILE_CACHE"
NUMBERED = re.compile(r"_(\d+)(?=\.[^/]*$)")
ANY = "_#"
"""Stands for the number in the names of stored files."""


class Stage:
    """There is one in a process, because MindSpore takes its folder only once.

    Attributes:
        folder: empty but for the graph at hand.
        number: of the next graph.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mindloom-graphs-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        ms.set_context(compile_cache_path=str(self.folder))
        self.number = 0

    def place(self, offered: Path) -> dict[Path, int]:
        """Move stored files to where MindSpore looks for the next graph; return when each was last changed."""
        placed = {}
        for path in [path for path in offered.rglob("*") if path.is_file()]:
            name = str(path.relative_to(offered)).replace(ANY, f"_{self.number}")
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
            placed[target] = target.stat().st_mtime_ns
        return placed

    def written(self) -> dict[str, Path]:
        """What MindSpore has written of the graph just compiled: name with ``ANY`` for its number -> file."""
        found = {}
        for path in self.folder.rglob("*"):
            number = NUMBERED.search(path.name)
            if path.is_file() and number and int(number[1]) == self.number:
                found[NUMBERED.sub(ANY, str(path.relative_to(self.folder)), count=1)] = path
        return found

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Switch MindSpore's cache on for one compilation; clean up behind it once its files have been seen to."""
        entry, forced = api.entry_script_path, os.environ.get(FORCE)
        # It would parse what the start script imports, and fail where that imports relatively (python -m).
        api.entry_script_path = None
        os.environ[FORCE] = "1"
        ms.set_context(enable_compile_cache=True)
        try:
            yield
        finally:
            ms.set_context(enable_compile_cache=False)
            api.entry_script_path = entry
            os.environ.pop(FORCE)
            if forced is not None:
                os.environ[FORCE] = forced

    def clear(self) -> None:
        """Make room for the next graph."""
        self.number += 1
        for path in self.folder.rglob("*"):
            with suppress(OSError):
                path.unlink()


@functools.cache
def stage() -> Stage:
    """This process's stage.

    Raises:
        OSError: there is no place for temporary files.
    """
    return Stage()
