"""Framing: the frame is filled, nothing is distorted, and the numbers say where the pixels come from."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from mindloom.framing import frame, mirrored
from mindloom.images import PillowPicture
from PIL import Image


def draw_for(position: int) -> Any:
    return lambda purpose: np.random.default_rng([position, zlib.crc32(purpose.encode())])


def no_draw(purpose: str) -> Any:
    raise AssertionError(f"{purpose} was drawn")


def ramp(width: int, height: int) -> PillowPicture:
    """Red is the column and green is the row."""
    rows, columns = np.mgrid[:height, :width]
    return PillowPicture(Image.fromarray(np.stack([columns % 256, rows % 256, rows * 0], -1).astype(np.uint8)))


@pytest.mark.parametrize(
    ("size", "goal", "corner"),
    [
        ((200, 100), (64, 64), (0, 32)),
        ((100, 200), (64, 64), (32, 0)),
        ((641, 640), (64, 64), (0, 0)),
        ((20, 10), (64, 64), (0, 32)),
        ((200, 100), (64, 128), (0, 0)),
        ((200, 100), (128, 64), (0, 96)),
        ((200, 100), (48, 80), (0, 8)),
        ((97, 61), (832, 1216), (0, 53)),
    ],
)
def test_the_frame_is_covered_and_the_crop_is_the_middle(
    size: tuple[int, int], goal: tuple[int, int], corner: tuple[int, int]
) -> None:
    framed = frame(ramp(*size), *goal, no_draw)
    assert framed.pixels.shape == (3, *goal)
    assert framed.pixels.dtype == np.uint8
    assert framed.pixels.flags.c_contiguous
    assert (framed.original, framed.corner, framed.mirrored) == (size[::-1], corner, False)


def test_pixels_are_those_of_a_plain_bicubic_resize() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 301, 3), np.uint8))
    scaled = np.asarray(noise.resize((161, 80), Image.Resampling.BICUBIC))
    framed = frame(PillowPicture(noise), 80, 128, draw_for(4), random_crop=True, flip=1.0)
    left = 161 - 128 - framed.corner[1]
    np.testing.assert_array_equal(framed.pixels, scaled[:, left : left + 128][:, ::-1].transpose(2, 0, 1))


def test_a_picture_that_fits_is_not_resampled() -> None:
    picture = ramp(100, 64)
    picture.resize = no_draw  # type: ignore[assignment, method-assign]
    framed = frame(picture, 64, 64, no_draw)
    assert framed.corner == (0, 18)
    assert framed.pixels[0, 0].tolist() == list(range(18, 82))


def test_random_crops_reach_every_place_and_say_where_they_are() -> None:
    corners = set()
    for position in range(80):
        framed = frame(ramp(64, 70), 64, 64, draw_for(position), random_crop=True)
        top, left = framed.corner
        assert (framed.pixels[1, 0, 0], framed.pixels[0, 0, 0]) == (top, left)
        corners.add(framed.corner)
    assert corners == {(top, 0) for top in range(7)}


def test_a_mirrored_picture_has_the_corner_of_the_mirrored_crop() -> None:
    plain = frame(ramp(256, 64), 64, 64, draw_for(3), random_crop=True)
    turned = frame(ramp(256, 64), 64, 64, draw_for(3), random_crop=True, flip=1.0)
    np.testing.assert_array_equal(turned.pixels, plain.pixels[:, :, ::-1])
    assert turned.mirrored
    assert turned.corner == (0, 256 - 64 - plain.corner[1])


def test_who_asks_whether_a_picture_is_mirrored_gets_the_answer_that_the_frame_got() -> None:
    flips = [frame(ramp(8, 8), 8, 8, draw_for(position), flip=0.3).mirrored for position in range(200)]
    assert flips == [mirrored(draw_for(position), 0.3) for position in range(200)]
    assert 40 <= sum(flips) <= 80
    assert not mirrored(no_draw, 0.0)


def test_an_empty_picture_is_a_broken_one() -> None:
    with pytest.raises(ValueError, match="0 x 4 pixels"):
        frame(ramp(0, 4), 8, 8, no_draw)
