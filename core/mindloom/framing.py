"""Framing: resize a picture to cover its frame, crop, mirror, and say where in the original the pixels lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .images import Picture
from .task import Draw


@dataclass(frozen=True)
class Framed:
    """A picture that fills its frame.

    Attributes:
        pixels: uint8 ``[3, height, width]``, contiguous.
        original: height and width before any resize.
        corner: top and left of the crop in the resized picture. For a mirrored picture it is the place that the crop
            has in the mirrored picture, as kohya-ss/sd-scripts counts it.
        mirrored: left and right are exchanged.
    """

    pixels: np.ndarray
    original: tuple[int, int]
    corner: tuple[int, int]
    mirrored: bool


def mirrored(draw: Draw, flip: float) -> bool:
    """Decide with probability ``flip``, as :func:`frame` does, for who needs the decision without the picture."""
    return bool(flip) and bool(draw("flip").random() < flip)


def frame(
    picture: Picture, height: int, width: int, draw: Draw, random_crop: bool = False, flip: float = 0.0
) -> Framed:
    """Fill ``height`` x ``width`` pixels: resize to cover them, keeping proportions, then crop and mirror.

    The crop is the middle, or anywhere with ``random_crop``. Each decision draws from a stream of its own, so that one
    switched on or off leaves the other as it is.

    Raises:
        ValueError: the picture is empty or turns out damaged.
    """
    if not picture.width or not picture.height:
        raise ValueError(f"the picture has {picture.width} x {picture.height} pixels")
    scale = max(height / picture.height, width / picture.width)
    # Rounding must not leave a side short of the frame.
    cover = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
    resized = picture.pixels() if cover == (picture.width, picture.height) else picture.resize(*cover)
    spare_y, spare_x = resized.shape[0] - height, resized.shape[1] - width
    if random_crop:
        generator = draw("crop")
        top, left = int(generator.integers(spare_y + 1)), int(generator.integers(spare_x + 1))
    else:
        top, left = spare_y // 2, spare_x // 2
    crop = resized[top : top + height, left : left + width]
    flipped = mirrored(draw, flip)
    if flipped:
        crop = crop[:, ::-1]
        left = spare_x - left
    pixels = np.ascontiguousarray(crop.transpose(2, 0, 1))
    return Framed(pixels, (picture.height, picture.width), (top, left), flipped)
