"""What the core's tests share: a scratch working folder, plugins made from source, and the command line in process."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from mindloom import Plugin, cli
from mindloom.discovery import Found, load_file


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MindSpore drops ``rank_0/om`` into the working folder when a graph does not compile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLOG_v", "4")


@pytest.fixture
def plugin_file(tmp_path: Path) -> Callable[[str, str], type[Plugin]]:
    """Write a plugin into a file of its own and load it, as ``--plugins ./file.py`` does."""

    def load(name: str, source: str) -> type[Plugin]:
        path = tmp_path / f"{name}.py"
        path.write_text("from mindloom import Plugin, UserError, hookimpl\n" + textwrap.dedent(source))
        return load_file(path)[1]

    return load


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run ``train.py`` in this process, with the toy task among the plugins; return exit code and last line."""
    toys = [
        Found(name, f"mindloom.testing:{kind}", "1", "", "test")
        for name, kind in {"toy": "Toy", "recorder": "Recorder", "shelf": "Shelf"}.items()
    ]
    available = {found.name: found for found in [*toys, Found("other", "mindloom.testing:Recorder", "1", "", "test")]}
    monkeypatch.setattr(cli, "discover", lambda: available)

    def run(*argv: str) -> tuple[int, str]:
        try:
            code = cli.main_train(argv)
        except SystemExit as stop:
            code = int(stop.code or 0)
        lines = capsys.readouterr().err.strip().splitlines()
        return code, lines[-1] if lines else ""

    return run
