"""Puts the committed results into docs/performance.md, between the marks that name them.

    python benchmarks/page.py           # make bench does so after each subject

A table stands between ``<!-- results: unet -->`` and ``<!-- end -->`` and is replaced as a whole; what is around it is
written by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from report import RESULTS, ROOT, markdown

PAGE = ROOT / "docs" / "performance.md"
MARKED = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(name: str) -> str:
    """A result as it stands on the page: its table, then when and where it was measured."""
    found = json.loads((RESULTS / f"{name}.json").read_text())
    rows, machine = found["rows"], found["machine"]
    said = [machine["date"], f"{machine['processors']} processors", f"MindSpore {machine.get('mindspore', '2.8.0')}"]
    cells = markdown(list(rows[0]), [list(row.values()) for row in rows])
    return f"\n{cells}\n\n{found['title']} ({', '.join(said)})\n\n"


def filled(text: str) -> str:
    """The page with today's results."""
    there = {path.stem for path in RESULTS.glob("*.json")}
    return MARKED.sub(lambda mark: mark[1] + table(mark[2]) + mark[3] if mark[2] in there else mark[0], text)


def main(page: Path = PAGE) -> None:
    """Fill the page."""
    page.write_text(filled(page.read_text()))


if __name__ == "__main__":
    main()
