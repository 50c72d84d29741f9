"""The sheet of captioned pictures."""

from __future__ import annotations

import time

import numpy as np
import pytest
from mindloom.grid import SMALLEST, grid, wrap
from PIL import ImageFont

CAPTION = "a green triangle with a rather long description on a patterned background"
FONT = ImageFont.load_default(13)


def pictures(count: int, side: int) -> list[np.ndarray]:
    return [np.full((side, side, 3), 10 * i, np.uint8) for i in range(count)]


def test_every_picture_is_in_its_place_enlarged_pixel_by_pixel() -> None:
    sheet = grid(pictures(4, 64), ["x"] * 4, columns=3)
    columns = {}
    for i in range(4):
        ys, xs = np.where((sheet == 10 * i).all(-1))
        columns[i] = (ys.min(), xs.min())
        assert len(ys) >= SMALLEST**2
    assert columns[0][0] == columns[1][0] == columns[2][0] < columns[3][0]
    assert columns[0][1] == columns[3][1] < columns[1][1] < columns[2][1]


def test_large_pictures_are_not_changed() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    sheet = grid([noise], ["caption"])
    assert any(np.array_equal(sheet[y : y + 200, x : x + 300], noise) for y in range(5, 20) for x in range(5, 20))


def test_pictures_of_other_sizes_stand_in_the_middle_of_their_cells() -> None:
    wide, tall = np.full((100, 300, 3), 7, np.uint8), np.full((200, 50, 3), 9, np.uint8)
    sheet = grid([wide, tall], columns=1)
    (ys, xs), (below, beside) = (np.where((sheet == value).all(-1)) for value in (7, 9))
    assert (np.ptp(ys) + 1, np.ptp(xs) + 1, np.ptp(below) + 1, np.ptp(beside) + 1) == (100, 300, 200, 50)
    assert abs(int(xs.min()) + int(xs.max()) - int(beside.min()) - int(beside.max())) <= 1


def test_captions_wrap_and_rows_grow_with_them_up_to_the_limit() -> None:
    none, short, long = (grid(pictures(1, 200), captions) for captions in ([], ["short"], [CAPTION]))
    assert none.shape[0] < short.shape[0] < long.shape[0]
    assert none.shape[1] == short.shape[1] == long.shape[1]
    assert grid(pictures(1, 200), [CAPTION], lines=1).shape == short.shape


def test_wrapped_lines_fit_and_lose_nothing() -> None:
    text = f"{CAPTION} {'x' * 100} {'y' * 30} end"
    lines = wrap(text, 150, FONT)
    assert all(FONT.getlength(line) <= 150 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("text", [CAPTION, "x" * 100, "word " * 2000, "x" * 20_000])
def test_what_does_not_fit_ends_in_dots_and_takes_no_time(text: str) -> None:
    began = time.perf_counter()
    lines = wrap(text, 100, FONT, lines=2)
    assert time.perf_counter() - began < 1
    assert len(lines) == 2
    assert lines[-1].endswith("…")
    assert all(FONT.getlength(line) <= 100 for line in lines)
    assert wrap("just this", 100, FONT, lines=2) == ["just this"]


def test_an_empty_caption_is_no_line() -> None:
    assert wrap("", 100, FONT) == []
    assert grid(pictures(2, 32), ["", ""]).ndim == 3


@pytest.mark.parametrize("text", ["\ud83d half a pair", "🦉 owl", "一只猫头鹰", "a\x00b", "אב", "line\nline"])
def test_any_text_can_be_drawn(text: str) -> None:
    assert grid(pictures(1, 200), [text]).shape[0] > 200


def test_nothing_to_show_and_captions_too_few_are_errors() -> None:
    with pytest.raises(ValueError, match="no pictures"):
        grid([])
    with pytest.raises(ValueError, match="1 captions for 2 pictures"):
        grid(pictures(2, 8), ["one"])
