"""Plain tables: fitted to a terminal, and whole lines in a pipe, where nothing is cut or wrapped."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from io import StringIO

from rich.box import Box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

RULED = Box(
    "    \n"  # above the header
    "    \n"
    " -  \n"  # below it
    "    \n"
    "    \n"
    "    \n"
    "    \n"
    "    \n",
    ascii=True,
)
"""Nothing but a line below the header."""

ENDLESS = 100_000
"""Columns of something that is no terminal."""

READABLE = 16
"""Columns that the last one shall have at least, or the others are wrapped too."""


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], right: Collection[str] = (), width: int | None = None
) -> str:
    """Lay rows out in columns, without spaces or a line break at the end.

    Args:
        columns: their headers.
        rows: a cell for each column; anything that ``str`` takes.
        right: headers of the columns whose numbers stand below each other.
        width: columns of the screen; the terminal's if it is left out, without an end in a pipe.
    """
    wide = screen() if width is None else width
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) + 2 for column in zip(columns, *cells, strict=True)]
    roomy = wide - sum(widths[:-1]) >= READABLE
    laid = Table(box=RULED, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        # Names stay whole as long as anything else can be wrapped instead.
        whole = not number or (roomy and number + 1 < len(columns))
        laid.add_column(column, justify="right" if column in right else "left", no_wrap=whole, overflow="fold")
    for row in cells:
        laid.add_row(*row)
    text = StringIO()
    Console(file=text, width=wide, color_system=None, markup=False, emoji=False, highlight=False).print(laid)
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines())


def screen() -> int:
    """How many columns standard output has."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else ENDLESS
