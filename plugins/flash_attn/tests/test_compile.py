"""The library is compiled once, safely, and its absence is explained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mindloom_flash_attn import compile as under_test
from mindloom_flash_attn.compile import KernelUnavailableError, library


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mindloom"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "FLAGS", ("-std=c++17", "-O0", "-shared", "-fPIC", "-pthread"))


def script(folder: Path, text: str) -> str:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_two_processes_may_compile_at_once(cache: Path) -> None:
    code = (
        "from mindloom_flash_attn import compile as c; c.FLAGS = ('-std=c++17', '-O0', '-shared', '-fPIC', '-pthread');"
        "print(c.library())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    paths = {run.communicate(timeout=120)[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0]
    assert len(paths) == 1
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["attention.so"]


def test_it_is_compiled_once(cache: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    first = library()
    written = first.stat().st_mtime_ns
    assert library() == first
    assert first.stat().st_mtime_ns == written
    monkeypatch.setattr(under_test, "FLAGS", (*under_test.FLAGS, "-DOTHER"))
    assert library() != first


def test_no_compiler_is_explained(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(KernelUnavailableError, match="no C\\+\\+ compiler"):
        library()


def test_a_failing_compiler_is_quoted_and_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", script(tmp_path, 'echo "attention.cc:1: error: too old" >&2; exit 1'))
    with pytest.raises(KernelUnavailableError, match="error: too old"):
        library()
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_compiler_that_is_not_there_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    with pytest.raises(KernelUnavailableError, match="/nowhere/g\\+\\+"):
        library()


def test_a_library_that_does_not_load_is_refused(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", script(tmp_path, 'for last; do :; done; [ "$1" = --version ] || echo broken > "$last"'))
    with pytest.raises(KernelUnavailableError, match="does not load"):
        library()


def test_a_cache_that_cannot_be_written_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(KernelUnavailableError, match="file"):
        library()
