"""Grids of pictures with captions."""

from __future__ import annotations

import numpy as np
import pytest
from mindloom_sdxl.pictures import GAP, grid
from PIL import Image

RED = np.full((128, 128, 3), (255, 0, 0), np.uint8)


def dark(sheet: Image.Image, box: tuple[int, int, int, int]) -> int:
    return int((np.asarray(sheet.crop(box).convert("L")) < 100).sum())


def test_pictures_keep_their_pixels_and_captions_stand_below() -> None:
    sheet = grid([RED, RED, RED], 2, ["a red circle on a light background", "second", "third"])
    assert sheet.width == 2 * 128 + 3 * GAP
    pixels = np.asarray(sheet)
    assert (pixels[GAP : GAP + 128, GAP : GAP + 128] == RED).all()
    assert dark(sheet, (GAP, GAP + 128, GAP + 128, GAP + 128 + 34)) > 50


def test_no_captions_leave_no_room_for_them() -> None:
    assert grid([RED], 4).size == (128 + 2 * GAP, 128 + 2 * GAP)


def test_long_captions_stay_within_their_picture() -> None:
    sheet = grid([RED, RED], 2, ["incomprehensibilities" * 5 + " and a great many more words" * 20, ""])
    assert dark(sheet, (GAP + 128, GAP + 128, sheet.width, sheet.height)) == 0


def test_nothing_to_show_is_an_error() -> None:
    with pytest.raises(ValueError, match="no pictures"):
        grid([], 2)
