"""Reading one CSV or TSV file: strict about what would silently damage captions, with the line in every error."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

from mindloom import UserError

from .columns import Columns

csv.field_size_limit(1 << 30)  # captions may be long; the module stops at 131 072 characters otherwise


def rows(path: Path, columns: Columns) -> Iterator[tuple[str, str]]:
    """Yield picture and caption of every row; rows without any text are skipped.

    Args:
        path: UTF-8, with or without a byte order mark; the first row names the columns. Tabs part the cells of
            ``*.tsv``, commas those of anything else.
        columns: what the two columns are called. A picture's cell may not be empty.

    Raises:
        UserError: the file cannot be read, lacks a column, or a row does not match the header.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
            lines = ([cell.strip() for cell in row] for row in reader)
            filled = (row for row in lines if any(row))
            header = next(filled, [])
            image, caption = (_find(path, header, kind, setting) for kind, setting in columns)
            for row in filled:
                _check(row, header, image, f"{path}, line {reader.line_num}", delimiter)
                row += [""] * (len(header) - len(row))
                yield row[image], row[caption]
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}: check the quotes up to here") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _find(path: Path, header: Sequence[str], names: Sequence[str], setting: str) -> int:
    for name in names:
        if name in header:
            return header.index(name)
    wanted = names[0]
    near = difflib.get_close_matches(wanted.lower(), [name.lower() for name in header], n=1, cutoff=0.5)
    guess = next((f" (did you mean {name!r}?)" for name in header if [name.lower()] == near), "")
    found = f"its first line is {','.join(header)[:100]!r}" if header else "it is empty"
    raise UserError(f"{path} has no column {wanted!r}, {found}{guess}: name it there or set {setting}", setting=setting)


def _check(row: list[str], header: Sequence[str], image: int, place: str, delimiter: str) -> None:
    if any(row[len(header) :]):
        kind = "tabs" if delimiter == "\t" else "commas"
        raise UserError(
            f'{place} has {len(row)} cells, the first line {len(header)}: put "quotes" around text that holds {kind}'
        )
    if image >= len(row) or not row[image]:
        raise UserError(f"{place} has no {header[image]!r}: fill it in or remove the line")
