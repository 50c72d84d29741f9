"""Data for the benchmark of the data plane: JPEGs that compress like photographs, as a list and as tar shards."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mindloom.formats import RawSample
from mindloom_csv.writer import write as write_list
from mindloom_webdataset.writer import write as write_shards
from PIL import Image

SIDES = (1440, 1560)
"""Between these are the sides of the pictures, in pixels."""

BYTES = 1_000_000


def photo(number: int) -> Image.Image:
    """Large and small shapes with grain."""
    rng = np.random.default_rng(number)
    width, height = (int(side) for side in rng.integers(*SIDES, 2))

    def shapes(pitch: int) -> np.ndarray:
        few = rng.integers(0, 256, (height // pitch + 2, width // pitch + 2, 3), np.uint8)
        return np.asarray(Image.fromarray(few).resize((width, height), Image.Resampling.BICUBIC), np.float32)

    grain = 6 * rng.standard_normal((height, width, 3), np.float32)
    return Image.fromarray((0.7 * shapes(40) + 0.3 * shapes(6) + grain).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def samples(count: int) -> Iterator[RawSample]:
    """Captioned pictures, in the one quality that brings the first of them nearest to ``BYTES``."""
    quality = min(range(80, 100), key=lambda quality: abs(len(jpeg(photo(0), quality)) - BYTES))
    for number in range(count):
        yield {"id": f"{number:05d}", "image": jpeg(photo(number), quality), "caption": f"shapes, number {number}"}


def prepare(folder: Path, count: int) -> None:
    """Make ``list`` (files and a CSV) and ``shards`` (four tars) in a folder, unless they are there."""
    note = folder / "made"
    if note.exists() and note.read_text() == str(count):
        return
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"{folder} holds something else than {count} pictures of this benchmark: name another folder")
    for name in ("list", "shards"):
        (folder / name).mkdir(parents=True)
    made = list(samples(count))
    write_list(made, folder / "list")
    write_shards(made, folder / "shards", "text", -(-count // 4))
    note.write_text(str(count))
