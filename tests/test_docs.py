"""Pages lead where they say, and the site is built without a warning."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import ROOT, anchors, pages, prose

PLUGINS = sorted(path.parent.name for path in ROOT.glob("plugins/*/setup.cfg"))


@pytest.mark.parametrize("page", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        target, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.is_file(), f"{link}: no such file"
        assert path.is_relative_to(ROOT), f"{link}: leaves the repository"
        assert not anchor or anchor in anchors(path), f"{link}: no such heading"


def test_every_page_is_part_of_the_site() -> None:
    index = ROOT / "docs" / "index.md"
    listed = {(index.parent / link).resolve() for link in re.findall(r"\]\(([^)#]+)\)", index.read_text())}
    assert set(pages()) - {index} == listed
    assert re.findall(r"plugins/(\w+)/README", index.read_text()) == PLUGINS


def test_the_site_is_built_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("furo")
    build = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-n",
        "-q",
        "-c",
        "docs",
        "-d",
        str(tmp_path / "read"),
    ]
    done = subprocess.run([*build, ".", str(tmp_path / "site")], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").is_file()
    pictures = {path.name for path in (tmp_path / "site" / "_images").iterdir()}
    assert {path.name for path in (ROOT / "docs" / "pictures").iterdir()} <= pictures
    shutil.rmtree(tmp_path / "site")
