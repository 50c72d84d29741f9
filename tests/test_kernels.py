"""A kernel is compiled once, safely, and its absence is explained."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mindloom import kernels
from mindloom.kernels import KernelUnavailableError, threads

SOURCE = """
#include "parallel.h"
#include "two.h"
extern "C" int answer() { return 40 + TWO; }
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mindloom"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A kernel of two files that needs one of the core's headers."""
    folder = tmp_path / "kernel"
    folder.mkdir()
    (folder / "two.h").write_text("#define TWO 2\n")
    (folder / "answer.cc").write_text(SOURCE)
    return folder / "answer.cc"


def library(source: Path) -> Path:
    return kernels.library(source, ["answer"])


def script(folder: Path, text: str) -> str:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_two_processes_may_compile_at_once(cache: Path, source: Path) -> None:
    code = (
        f"from mindloom.kernels import library; from pathlib import Path; print(library(Path('{source}'), ['answer']))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    paths = {run.communicate(timeout=120)[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0]
    assert len(paths) == 1
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["answer.so"]


def test_it_is_compiled_once_for_the_same_sources_and_flags(
    cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = library(source)
    assert ctypes.CDLL(str(first)).answer() == 42
    written = first.stat().st_mtime_ns
    assert library(source) == first
    assert first.stat().st_mtime_ns == written
    (source.parent / "two.h").write_text("#define TWO 3\n")
    second = library(source)
    assert ctypes.CDLL(str(second)).answer() == 43
    monkeypatch.setattr(kernels, "FLAGS", (*kernels.FLAGS, "-DOTHER"))
    assert library(source) not in (first, second)


def test_the_cores_headers_are_part_of_every_kernel(
    cache: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = library(source)
    shared = tmp_path / "shared"
    shutil.copytree(kernels.SHARED, shared)
    (shared / "parallel.h").write_text((shared / "parallel.h").read_text() + "// newer\n")
    monkeypatch.setattr(kernels, "SHARED", shared)
    assert library(source) != first


def test_a_missing_entry_is_explained(cache: Path, source: Path) -> None:
    with pytest.raises(KernelUnavailableError, match="question"):
        kernels.library(source, ["answer", "question"])


@pytest.mark.parametrize(("wish", "expected"), [("3", 3), ("2,1", 2), ("0", None), ("many", None), ("", None)])
def test_threads_are_those_of_openmp_or_one_for_each_processor(
    wish: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", wish)
    assert threads() == (expected or len(os.sched_getaffinity(0)))


def test_no_compiler_is_explained(cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(KernelUnavailableError, match="no C\\+\\+ compiler"):
        library(source)


def test_a_failing_compiler_is_quoted_and_leaves_nothing(
    cache: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", script(tmp_path, 'echo "answer.cc:1: error: too old" >&2; exit 1'))
    with pytest.raises(KernelUnavailableError, match="error: too old"):
        library(source)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_compiler_that_is_not_there_is_named(cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    with pytest.raises(KernelUnavailableError, match="/nowhere/g\\+\\+"):
        library(source)


def test_a_library_that_does_not_load_is_refused(
    cache: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", script(tmp_path, 'for last; do :; done; [ "$1" = --version ] || echo broken > "$last"'))
    with pytest.raises(KernelUnavailableError, match="does not load"):
        library(source)


def test_a_cache_that_cannot_be_written_is_explained(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(KernelUnavailableError, match="file"):
        library(source)
