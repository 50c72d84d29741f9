"""Pictures laid out as a labelled grid, for previews that a person reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP = 8
FONT_SIZE = 13
LINES = 3


def grid(pictures: Sequence[np.ndarray], columns: int, captions: Sequence[str] = ()) -> Image.Image:
    """uint8 ``[height, width, 3]`` pictures, all of one size, row by row with their captions underneath.

    Captions are wrapped to the picture's width; what does not fit in three lines ends in "…".
    """
    if not pictures:
        raise ValueError("no pictures to lay out")
    columns = max(1, min(columns, len(pictures)))
    rows = -(-len(pictures) // columns)
    height, width = pictures[0].shape[:2]
    font = ImageFont.load_default(FONT_SIZE)
    labels = [wrap(caption, font, width) for caption in captions]
    line_height = FONT_SIZE + 4
    below = max((len(lines) for lines in labels), default=0) * line_height
    pitch_x, pitch_y = width + GAP, height + below + GAP
    sheet = Image.new("RGB", (columns * pitch_x + GAP, rows * pitch_y + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for index, picture in enumerate(pictures):
        x, y = GAP + index % columns * pitch_x, GAP + index // columns * pitch_y
        sheet.paste(Image.fromarray(picture), (x, y))
        for number, line in enumerate(labels[index] if index < len(labels) else ()):
            pen.text((x, y + height + 2 + number * line_height), line, fill="black", font=font)
    return sheet


def wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Break between words so that each of at most three lines is no wider than ``width`` pixels."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], f"{lines[LINES - 1]}…"]
    return [shorten(line, font, width) for line in lines]


def shorten(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while len(line) > 1 and font.getlength(line) > width:
        line = f"{line.rstrip('…')[:-1]}…"
    return line
