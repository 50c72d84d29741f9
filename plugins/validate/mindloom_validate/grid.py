"""Several captioned pictures on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SMALLEST = 192
"""Pixels a picture is wide at least: captions under smaller ones would have to be wrapped word by word."""
PAPER, INK = (255, 255, 255), (40, 40, 40)


def grid(pictures: Sequence[np.ndarray], captions: Sequence[str], columns: int) -> np.ndarray:
    """Lay pictures out row by row, each with its caption wrapped below it.

    Args:
        pictures: uint8 ``[height, width, 3]``, all of one size. Small ones are enlarged by a whole factor, pixel by
            pixel, so that nothing is smoothed away.
        captions: one for each picture.
        columns: pictures in a row at the most.

    Returns:
        uint8 ``[height, width, 3]``.
    """
    factor = -(-SMALLEST // pictures[0].shape[1])
    tiles = [Image.fromarray(picture.repeat(factor, 0).repeat(factor, 1)) for picture in pictures]
    width, height = tiles[0].size
    size = max(13, width // 24)
    font, gap = ImageFont.load_default(size), size
    texts = [wrap(caption, width, font) for caption in captions]
    rows = [range(first, min(first + columns, len(tiles))) for first in range(0, len(tiles), columns)]
    line = round(size * 1.3)
    heights = [height + line * max(len(texts[i]) for i in row) + gap for row in rows]
    sheet = Image.new("RGB", (gap + (width + gap) * len(rows[0]), gap + sum(heights) + gap * len(rows)), PAPER)
    pen, top = ImageDraw.Draw(sheet), gap
    for row, tall in zip(rows, heights, strict=True):
        for place, i in enumerate(row):
            left = gap + place * (width + gap)
            sheet.paste(tiles[i], (left, top))
            for number, text in enumerate(texts[i]):
                pen.text((left, top + height + gap // 2 + number * line), text, INK, font)
        top += tall + gap
    return np.asarray(sheet)


def wrap(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """Break a text into lines of at most ``width`` pixels, between words where it can be."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        if font.getlength(f"{line} {word}".strip()) <= width:
            line = f"{line} {word}".strip()
            continue
        lines += [line] if line else []
        while font.getlength(word) > width:
            fit = max(1, next(n for n in range(1, len(word) + 1) if font.getlength(word[:n]) > width) - 1)
            lines.append(word[:fit])
            word = word[fit:]
        line = word
    return [*lines, line] if line else lines
