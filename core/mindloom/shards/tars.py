"""Walking through a tar file from header to header: which members make a sample, and where their bytes lie."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple


class DamagedError(ValueError):
    """A file that is no tar file, or not the whole of one. What came before is good."""


class Member(NamedTuple):
    """One file of a sample: its extension in lower case, and where its bytes lie in the tar file."""

    extension: str
    offset: int
    size: int


class Group(NamedTuple):
    """The members of one sample; its first header begins at byte ``start`` of the tar file."""

    key: str
    start: int
    members: list[Member]


def split_name(name: str) -> tuple[str, str] | None:
    r"""Split a member's name at the first dot of its base name; None for what belongs to no sample.

    That is the rule of ``webdataset.tariterators``, ``__meta__`` files included. Hidden files are left out.
    What is not UTF-8 in a name becomes an escape such as ``\xff``.
    """
    name = _readable(name)
    found = re.fullmatch(r"((?:.*/)?[^./][^./]*)\.([^/]*)", name, re.DOTALL)
    if found is None or re.match(r"__[^/]*__($|/)", name):
        return None
    return found[1], found[2].lower()


def groups(file: BinaryIO, start: int = 0) -> Iterator[Group]:
    """Yield runs of members with one key, from the header at byte ``start`` on, reading headers only.

    Raises:
        DamagedError: after the last sample that is there, when the file is cut off or a header is broken. A sample of
            which a part is cut off is left out.
    """
    size = file.seek(0, 2)
    group: Group | None = None
    try:
        for info, header in _headers(file, start, size):
            parts = split_name(info.name) if info.isreg() and not info.issparse() else None
            if parts is not None and group is not None and group.key != parts[0]:
                yield group
                group = None
            if info.isreg() and info.offset_data + info.size > size:
                same = group is not None and parts is not None
                group = None if same else group
                raise DamagedError(f"it is cut off within {_readable(info.name)[:200]}")
            if parts is not None:
                group = group or Group(parts[0], header, [])
                group.members.append(Member(parts[1], info.offset_data, info.size))
    except DamagedError:
        if group is not None:
            yield group
        raise
    if group is not None:
        yield group


def _headers(file: BinaryIO, start: int, size: int) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Yield members and where their headers begin.

    ``TarFile.next`` takes a broken header for the end of the file; ``TarInfo.fromtarfile`` tells the difference.
    """
    file.seek(0)
    try:
        tar = tarfile.TarFile(fileobj=file, mode="r")
    except Exception as error:
        raise DamagedError(f"it is no tar file ({error})") from None
    while start < size:
        file.seek(start)
        try:
            info = tarfile.TarInfo.fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            rest = _something(file, start)
            if rest:
                raise DamagedError(f"it has zeros at byte {start} and goes on at byte {rest}") from None
            return
        except Exception as error:  # damaged extended headers make tarfile raise whatever its parsers stumble over
            raise DamagedError(f"its header at byte {start} is broken ({error})") from None
        if tar.offset <= start:
            raise DamagedError(f"its header at byte {start} is broken (a negative size)")
        yield info, start
        start = tar.offset
    raise DamagedError("it is cut off after its last file")


def _something(file: BinaryIO, start: int) -> int:
    """The first byte after the zeros that begin at ``start``; 0 if nothing but zeros follows, as at a proper end."""
    file.seek(start)
    while block := file.read(1 << 20):
        if found := len(block) - len(block.lstrip(b"\0")):
            if found < len(block):
                return start + found
        else:
            return start
        start += len(block)
    return 0


def _readable(name: str) -> str:
    """Names that are not UTF-8 come as surrogates, which nobody could write down."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
