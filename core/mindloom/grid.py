"""Several captioned pictures on one sheet, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SMALLEST = 192
"""Pixels a cell is wide at least: captions under smaller ones would have to be wrapped word by word."""
PAPER, INK = (255, 255, 255), (40, 40, 40)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def grid(pictures: Sequence[np.ndarray], captions: Sequence[str] = (), columns: int = 4, lines: int = 0) -> np.ndarray:
    """Lay pictures out row by row, each with its caption wrapped below it.

    Args:
        pictures: uint8 ``[height, width, 3]``; small ones are enlarged by a whole factor, pixel by pixel, so that
            nothing is smoothed away. Those that are smaller than the largest stand in the middle of their cells.
        captions: one for each picture, or none at all.
        columns: pictures in a row at the most.
        lines: lines of a caption at the most, the last one ending in "…"; 0 for all of it.

    Returns:
        uint8 ``[height, width, 3]``.

    Raises:
        ValueError: there are no pictures, or not as many captions as pictures.
    """
    if not pictures:
        raise ValueError("no pictures to lay out")
    if captions and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} pictures")
    factor = -(-SMALLEST // max(picture.shape[1] for picture in pictures))
    tiles = [Image.fromarray(picture.repeat(factor, 0).repeat(factor, 1)) for picture in pictures]
    width, height = max(tile.width for tile in tiles), max(tile.height for tile in tiles)
    size = max(13, width // 24)
    font, gap, pitch = ImageFont.load_default(size), size, round(size * 1.3)
    texts = [wrap(caption, width, font, lines) for caption in captions] or [[]] * len(tiles)
    rows = [range(first, min(first + columns, len(tiles))) for first in range(0, len(tiles), columns)]
    heights = [height + pitch * max(len(texts[i]) for i in row) + gap for row in rows]
    sheet = Image.new("RGB", (gap + (width + gap) * len(rows[0]), gap + sum(heights) + gap * len(rows)), PAPER)
    pen, top = ImageDraw.Draw(sheet), gap
    for row, tall in zip(rows, heights, strict=True):
        for place, i in enumerate(row):
            left = gap + place * (width + gap)
            sheet.paste(tiles[i], (left + (width - tiles[i].width) // 2, top + (height - tiles[i].height) // 2))
            for number, text in enumerate(texts[i]):
                pen.text((left, top + height + gap // 2 + number * pitch), text, INK, font)
        top += tall + gap
    return np.asarray(sheet)


def wrap(text: str, width: int, font: Font, lines: int = 0) -> list[str]:
    """Break a text into lines of at most ``width`` pixels, between words where it can be.

    Args:
        text: whatever it holds; half surrogate pairs, which no font can draw, become "?".
        width: in pixels.
        font: to measure with.
        lines: at the most, the last one ending in "…"; 0 for as many as it takes.
    """
    wrapped: list[str] = []
    line = ""
    for word in text.encode(errors="replace").decode().split():
        if lines and len(wrapped) > lines:
            break
        if font.getlength(f"{line} {word}".strip()) <= width:
            line = f"{line} {word}".strip()
            continue
        wrapped += [line] if line else []
        line = word
        while font.getlength(line) > width and not (lines and len(wrapped) > lines):
            fit = max(1, next(n for n in range(1, len(line) + 1) if font.getlength(line[:n]) > width) - 1)
            wrapped.append(line[:fit])
            line = line[fit:]
    wrapped += [line] if line else []
    return (
        wrapped
        if not lines or len(wrapped) <= lines
        else [*wrapped[: lines - 1], _cut(wrapped[lines - 1], width, font)]
    )


def _cut(line: str, width: int, font: Font) -> str:
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…"
