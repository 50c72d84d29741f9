"""Small data sets for the tests of ``mindloom data``: sound ones, and files that are broken in every known way."""

from __future__ import annotations

import csv
import io
import struct
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

CHINESE = "一只猫头鹰在树上"


def jpeg(seed: int, width: int = 48, height: int = 40) -> bytes:
    """A picture that no other seed gives."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


def bomb(side: int = 60_000) -> bytes:
    """A PNG of some hundred bytes that says it has billions of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def listed(folder: Path, rows: Iterable[tuple[str, bytes | None, str]]) -> Path:
    """A folder of pictures with a list; a row is name, bytes (None: no such file), caption."""
    folder.mkdir(parents=True)
    with (folder / "data.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["dir", "text"])
        for name, data, caption in rows:
            if data is not None:
                (folder / name).write_bytes(data)
            table.writerow([name, caption])
    return folder


def sound(folder: Path, count: int = 6) -> Path:
    """A data set without faults; pictures of two shapes."""
    shapes = ((64, 32), (40, 40))
    return listed(folder, [(f"{i:03}.jpg", jpeg(i, *shapes[i % 2]), f"picture number {i}") for i in range(count)])


def tar(members: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> bytes:
    """A tar file; names may repeat."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as shard:
        for name, data in members.items() if isinstance(members, Mapping) else members:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            shard.addfile(about, io.BytesIO(data))
    return file.getvalue()


def shards(folder: Path, *contents: bytes) -> Path:
    """A folder of tar files."""
    folder.mkdir(parents=True)
    for number, data in enumerate(contents):
        (folder / f"{number:06}.tar").write_bytes(data)
    return folder


STREAM = '''
"""A format of a third party, read as a stream: pictures in a folder, named by what they show."""

from pathlib import Path

from mindloom import Plugin, UserError, hookimpl
from mindloom.formats import SampleError


class Names:
    def __init__(self, path, world):
        self.files = sorted(Path(path).glob("*.jpg"))
        if not self.files:
            raise UserError(f"{path} holds no *.jpg", setting="data.path")

    def __len__(self):
        return len(self.files)

    def read(self, epoch, start, stop):
        for file in self.files[start:stop]:
            if file.stem == "stop":
                return
            if file.stem == "fail":
                raise RuntimeError("the disk is gone")
            if file.stem == "bad":
                yield SampleError("a bad one", id="bad", where=str(file))
            else:
                yield {"image": file.read_bytes(), "caption": file.stem, "id": file.stem}


class Named(Plugin):
    @hookimpl
    def add_formats(self):
        return {"named": Names}
'''
