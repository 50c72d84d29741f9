"""Reading one CSV file: strict about what would silently damage captions, with the line in every error."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mindloom import UserError


def rows(path: Path, columns: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Yield the wanted cells of every row; rows without any text are skipped.

    Args:
        path: UTF-8, with or without a byte order mark; the first row names the columns.
        columns: setting -> name of the column that it names. The first one may not be empty in any row.

    Raises:
        UserError: the file cannot be read, lacks a column, or a row does not match the header.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            lines = ([cell.strip() for cell in row] for row in reader)
            filled = (row for row in lines if any(row))
            header = next(filled, [])
            wanted = [_find(path, header, column, setting) for setting, column in columns.items()]
            for row in filled:
                yield _pick(row, header, wanted, f"{path}, line {reader.line_num}")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}: check the quotes up to here") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _find(path: Path, header: Sequence[str], column: str, setting: str) -> int:
    if column in header:
        return header.index(column)
    near = difflib.get_close_matches(column.lower(), [name.lower() for name in header], n=1, cutoff=0.5)
    guess = next((f" (did you mean {name!r}?)" for name in header if [name.lower()] == near), "")
    found = f"its first line is {','.join(header)[:100]!r}" if header else "it is empty"
    raise UserError(f"{path} has no column {column!r}, {found}{guess}: name it there or set {setting}", setting=setting)


def _pick(row: list[str], header: Sequence[str], wanted: Sequence[int], place: str) -> tuple[str, ...]:
    if any(row[len(header) :]):
        raise UserError(
            f'{place} has {len(row)} cells, the first line {len(header)}: put "quotes" around text that holds commas'
        )
    row += [""] * (len(header) - len(row))
    if not row[wanted[0]]:
        raise UserError(f"{place} has no {header[wanted[0]]!r}: fill it in or remove the line")
    return tuple(row[index] for index in wanted)
