"""What the parity tests share: one pair of models with equal weights, and MindSpore's two modes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mindspore as ms
import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Everything here judges the SDXL plugin."""
    item.add_marker("together")


@pytest.fixture(scope="session")
def pipe() -> Any:
    """diffusers' pipeline with random weights. Whoever changes it must put it right again."""
    from .reference import pipeline

    return pipeline()


@pytest.fixture(scope="session")
def folder(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where diffusers saved that pipeline."""
    from .reference import saved

    return saved(pipe, tmp_path_factory.mktemp("parity") / "model")


@pytest.fixture(scope="session")
def model(folder: Path) -> Any:
    """Our model, read from that folder."""
    from .reference import read

    return read(folder)


@pytest.fixture(scope="module")
def graph() -> Iterator[None]:
    """Whole networks are judged as users run them."""
    yield from _mode(ms.GRAPH_MODE)


@pytest.fixture(scope="module")
def eager() -> Iterator[None]:
    """Single cells are judged one operator at a time, where hooks see every cell and nothing is compiled."""
    yield from _mode(ms.PYNATIVE_MODE)


def _mode(mode: int) -> Iterator[None]:
    before = ms.get_context("mode")
    ms.set_context(mode=mode, device_target="CPU")
    yield
    ms.set_context(mode=before)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how far each subject is from the reference, when asked for with ``-v``."""
    import sys

    known = [module for name, module in sys.modules.items() if name.endswith("tests.parity.trail")]
    if not known or terminalreporter.config.option.verbose < 1:
        return
    worst: dict[str, tuple[float, str]] = {}
    for subject, name, relative in known[0].MEASURED:
        worst[subject] = max(worst.get(subject, (0.0, "")), (relative, name))
    terminalreporter.section("largest differences, by the tensor's largest number")
    for subject, (relative, name) in worst.items():
        terminalreporter.write_line(f"{relative:.1e}  {subject}: {name}")
