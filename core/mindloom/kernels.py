"""C++ kernels of plugins as shared libraries: compiled on first use, for this processor, into the user's cache folder.

A kernel is one ``.cc`` file with C entries in the calling convention of ``ops.Custom(func_type="aot")``. Headers beside
it and those in ``mindloom/kernel/`` (vectors, threads) are on its include path.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

SHARED = Path(__file__).parent / "kernel"
"""Headers for every kernel."""
FLAGS = ("-std=c++17", "-O3", "-march=native", "-shared", "-fPIC", "-pthread")
PATIENCE = 300
"""Seconds after which a compiler is given up on; it normally takes five."""


class KernelUnavailableError(Exception):
    """There is no kernel on this machine; the text says why."""


def library(source: Path, entries: Sequence[str]) -> Path:
    """Return the compiled kernel, compiling it when these sources, compiler and processor have not met before.

    Several processes may do so at once: each compiles for itself, and the last complete file wins.

    Args:
        source: the ``.cc`` file; everything in its folder counts as part of it.
        entries: functions that the library must have.

    Raises:
        KernelUnavailableError: no compiler, one that fails, or no folder to write to.
    """
    command = [*_compiler(), *FLAGS]
    try:
        folder = _cache() / _key(command, source.parent)
        target = folder / f"{source.stem}.so"
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _compile([*command, f"-I{SHARED}", str(source)], target)
    except OSError as error:
        raise KernelUnavailableError(f"{error.strerror or error}: {error.filename or command[0]}") from error
    _probe(target, entries)
    return target


def threads() -> int:
    """How many threads a kernel may use: what OMP_NUM_THREADS says, or as many as this process has processors."""
    wish = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(wish) if wish.isdigit() and int(wish) else len(os.sched_getaffinity(0))


def _compiler() -> list[str]:
    if named := os.environ.get("CXX"):
        return named.split()
    for name in ("g++", "c++", "clang++"):
        if found := shutil.which(name):
            return [found]
    raise KernelUnavailableError("no C++ compiler (g++, c++ or clang++; the environment variable CXX names another)")


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "mindloom"


def _key(command: list[str], sources: Path) -> str:
    """Name everything that the library depends on; home folders are often shared by unlike machines."""
    key = hashlib.sha256()
    for source in [*sorted(SHARED.iterdir()), *sorted(sources.iterdir())]:
        if source.is_file():
            key.update(source.name.encode() + source.read_bytes())
    version = subprocess.run([command[0], "--version"], capture_output=True, timeout=PATIENCE)
    for part in (" ".join(command).encode(), version.stdout, _processor().encode()):
        key.update(part + b"\0")
    return key.hexdigest()[:24]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.platform()
    telling = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(telling)}))


def _compile(command: list[str], target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        try:
            done = subprocess.run(
                [*command, "-o", str(made)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired as error:
            raise KernelUnavailableError(f"{command[0]} took more than {PATIENCE} seconds") from error
        if done.returncode or not made.exists():
            wrong = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
            raise KernelUnavailableError(f"{command[0]} failed: {wrong[0] if wrong else f'exit {done.returncode}'}")
        made.replace(target)


def _probe(path: Path, entries: Sequence[str]) -> None:
    try:
        loaded = ctypes.CDLL(str(path))
        for entry in entries:
            getattr(loaded, entry)
    except (OSError, AttributeError) as error:
        raise KernelUnavailableError(f"{path} does not load ({error}): delete it") from error
