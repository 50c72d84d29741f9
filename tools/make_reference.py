"""Write the reference pages below docs/reference from the code, so that they cannot tell anything else.

    python tools/make_reference.py

A test writes them again and compares.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
COMMAND = "python tools/make_reference.py"
sys.path[:0] = [str(ROOT / "core"), str(ROOT / "tools")]

from reference import commands, hooks, plugins, settings  # noqa: E402

PAGES: dict[str, Callable[[], str]] = {
    "hooks.md": hooks.page,
    "plugins.md": plugins.page,
    "settings.md": settings.page,
    "command-line.md": commands.page,
}


def pages() -> dict[str, str]:
    """Name of each page and its text."""
    note = f"<!-- written by: {COMMAND} -->\n"
    return {name: note + page().rstrip() + "\n" for name, page in PAGES.items()}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)


if __name__ == "__main__":
    main()
