"""The sheet of pictures."""

from __future__ import annotations

import numpy as np
from mindloom_validate.grid import SMALLEST, grid, wrap
from PIL import ImageFont

CAPTION = "a green triangle with a rather long description on a patterned background"


def pictures(count: int, side: int) -> list[np.ndarray]:
    return [np.full((side, side, 3), 10 * i, np.uint8) for i in range(count)]


def test_every_picture_is_in_its_place_enlarged_pixel_by_pixel() -> None:
    sheet = grid(pictures(5, 64), ["x"] * 5, columns=3)
    columns = {}
    for i in range(5):
        ys, xs = np.where((sheet == 10 * i).all(-1)) if i != 4 else np.where((sheet == 40).all(-1))
        columns[i] = (ys.min(), xs.min())
        assert len(ys) >= SMALLEST**2
    assert columns[0][0] == columns[1][0] == columns[2][0] < columns[3][0]
    assert columns[0][1] == columns[3][1] < columns[1][1] == columns[4][1] < columns[2][1]


def test_large_pictures_are_not_changed() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    sheet = grid([noise], ["caption"], columns=4)
    assert any(np.array_equal(sheet[y : y + 200, x : x + 300], noise) for y in range(5, 20) for x in range(5, 20))


def test_captions_wrap_and_rows_grow_with_them() -> None:
    short, long = grid(pictures(1, 200), ["short"], 4), grid(pictures(1, 200), [CAPTION], 4)
    assert long.shape[1] == short.shape[1]
    assert long.shape[0] > short.shape[0]


def test_wrapped_lines_fit_and_lose_nothing() -> None:
    font = ImageFont.load_default(13)
    lines = wrap(CAPTION + " " + "x" * 100, 150, font)
    assert all(font.getlength(line) <= 150 for line in lines)
    assert "".join(lines).replace(" ", "") == (CAPTION + "x" * 100).replace(" ", "")


def test_an_empty_caption_is_no_line() -> None:
    assert wrap("", 100, ImageFont.load_default(13)) == []
    assert grid(pictures(2, 32), ["", ""], 4).ndim == 3
