"""A clean environment without a network: a new virtual environment in which only the core is installed.

What the core requires, pytest, and what builds distributions are not downloaded but linked, from the environment that
runs the tests; the core itself is built and installed by pip from a copy of the checkout.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
TOOLS = ("pytest", "setuptools", "wheel")
CORE = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "core")
HOSTILE = re.compile(r"^(PYTHON|PROTOCOL_|PIP_|VIRTUAL_ENV|PYTEST_|GLOG_|MINDLOOM)")
"""Variables that would let something of the outer environment in."""


class Clean:
    """The environment in a folder: ``run`` its programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, symlinks=True)
        self.bin = folder / "bin"
        self.site = next((folder / "lib").glob("python*/site-packages"))
        for name in sorted(closure([*requirements(ROOT / "setup.cfg"), *TOOLS])):
            link(metadata.distribution(name), self.site)
        copy = folder / "core"
        copy.mkdir()
        for name in CORE:
            copied = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copied(ROOT / name, copy / name)
        self.install(copy)
        shutil.rmtree(copy)

    def install(self, *folders: Path) -> None:
        """Install distributions with pip, which checks that what they require is there and downloads nothing."""
        places = [str(folder) for folder in folders]
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "--isolated"]
        done = subprocess.run(
            [*pip, "install", "--quiet", "--no-index", "--no-build-isolation", *places],
            env={**self.environment(), "PIP_CONFIG_FILE": os.devnull},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def environment(self) -> dict[str, str]:
        """This process's variables, without what would let the checkout or its plugins in."""
        inherited = {key: value for key, value in os.environ.items() if not HOSTILE.match(key)}
        return {**inherited, "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "GLOG_v": "4"}

    def run(self, *argv: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, in a folder outside the checkout."""
        program, *rest = map(str, argv)
        return subprocess.run(
            [str(self.bin / program), *rest], cwd=cwd, env=self.environment(), capture_output=True, text=True
        )


def requirements(path: Path) -> Iterator[str]:
    """What a checkout's distribution requires, without its extras."""
    about = configparser.RawConfigParser()
    about.read(path, encoding="utf-8")
    for line in about["options"]["install_requires"].splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip()


def closure(lines: Iterable[str]) -> set[str]:
    """Names of the installed distributions that these requirements lead to."""
    found: set[str] = set()
    waiting = list(lines)
    while waiting:
        needs = Requirement(waiting.pop())
        name = canonicalize_name(needs.name)
        if name in found or (needs.marker and not needs.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += metadata.requires(name) or []
    return found


def link(distribution: metadata.Distribution, site: Path) -> None:
    """Link what a distribution has on the top level of its site directory."""
    home = Path(str(distribution.locate_file("")))
    for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        if not (site / name).is_symlink():
            (site / name).symlink_to(home / name)
