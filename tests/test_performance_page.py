"""docs/performance.md says what the committed results say."""

from __future__ import annotations

import re
import sys

import pytest

from .pages import ROOT

PAGE = ROOT / "docs" / "performance.md"


def test_every_table_is_that_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    try:
        import page
    finally:
        sys.modules.pop("report", None)
    text = PAGE.read_text()
    named = re.findall(r"<!-- results: (\w+) -->", text)
    kept = {path.stem for path in (ROOT / "benchmarks" / "results").glob("*.json")}
    assert set(named) <= kept
    assert set(named) >= kept - {"curves"}  # that one is pictures
    assert page.filled(text) == text
