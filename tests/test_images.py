"""Decoding: whatever comes in leaves as upright 8-bit RGB, or as a ValueError."""

from __future__ import annotations

import io
import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from mindloom.images import decode
from PIL import Image

LIMIT = 10_000_000
RED, GREEN = (255, 0, 0), (0, 255, 0)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(size: tuple[int, int] = (40, 20)) -> Image.Image:
    """Red on the left, green on the right."""
    image = Image.new("RGB", size, RED)
    image.paste(GREEN, (size[0] // 2, 0, *size))
    return image


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "JPEG2000"])
def test_lossless_kinds_come_out_as_they_were(kind: str) -> None:
    image = decode(saved(halves(), kind), LIMIT)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), np.asarray(halves()))


@pytest.mark.parametrize(
    ("orientation", "size", "red_corner"),
    [
        (1, (40, 20), (2, 10)),
        (2, (40, 20), (37, 10)),
        (3, (40, 20), (37, 10)),
        (6, (20, 40), (10, 2)),
        (8, (20, 40), (10, 37)),
    ],
)
def test_exif_rotation_is_applied_before_anybody_sees_the_size(
    orientation: int, size: tuple[int, int], red_corner: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(saved(halves(), "JPEG", exif=exif, quality=95), LIMIT)
    assert image.size == size
    red, green, _ = image.getpixel(red_corner)  # type: ignore[misc]
    assert red > 200 > 60 > green


def test_cmyk_becomes_rgb() -> None:
    image = decode(saved(halves().convert("CMYK"), "JPEG", quality=95), LIMIT)
    assert image.mode == "RGB"
    np.testing.assert_allclose(np.asarray(image)[10, [2, 37]], [RED, GREEN], atol=12)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_high_byte(kind: str) -> None:
    grey = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    image = decode(saved(Image.fromarray(grey), kind), LIMIT)
    np.testing.assert_array_equal(np.asarray(image)[..., 1], (grey >> 8).astype(np.uint8))


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_grey_and_palette_pictures_become_rgb(mode: str) -> None:
    image = decode(saved(halves().convert("L").point(lambda v: 255 if v > 100 else 0).convert(mode), "PNG"), LIMIT)
    assert image.mode == "RGB"
    assert [image.getpixel((x, 5)) for x in (2, 37)] == [(0, 0, 0), (255, 255, 255)]


def test_transparency_is_laid_over_white() -> None:
    clear = halves().convert("RGBA")
    clear.putalpha(Image.new("L", clear.size, 0))
    half = halves().convert("LA")
    half.putalpha(Image.new("L", half.size, 0))
    palette = halves().quantize(4)
    index = palette.getpixel((2, 5))
    keyed = halves()
    grey = Image.new("L", (4, 4), 7)
    cases = {
        "RGBA": saved(clear, "PNG"),
        "LA": saved(half, "PNG"),
        "palette": saved(palette, "PNG", transparency=index),
        "colour key": saved(keyed, "PNG", transparency=RED),
        "grey key": saved(grey, "PNG", transparency=7),
        "GIF": saved(palette, "GIF", transparency=index),
        "WebP": saved(clear, "WEBP", lossless=True, exact=True),
    }
    for name, data in cases.items():
        assert decode(data, LIMIT).getpixel((2, 2)) == (255, 255, 255), name
    for name in ("palette", "colour key", "GIF"):
        assert decode(cases[name], LIMIT).getpixel((37, 5)) == GREEN, name


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    options = {"lossless": True} if kind == "WEBP" else {}
    image = decode(saved(frames[0], kind, save_all=True, append_images=frames[1:], **options), LIMIT)
    assert image.getpixel((4, 4)) == RED


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_truncated_file_is_refused(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = saved(noise, kind)
    with pytest.raises(ValueError, match="not a readable picture"):
        decode(data[: len(data) // 2], LIMIT)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\xff\xd8\xff", b"GIF89a", b"\x00" * 1000])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a readable picture"):
        decode(data, LIMIT)


@pytest.mark.parametrize("kind", ["EPS", "PCX", "PDF"])
def test_kinds_that_no_data_set_holds_are_refused_however_well_pillow_reads_them(kind: str) -> None:
    with pytest.raises(ValueError, match="not a readable picture in one of the formats JPEG, PNG, WEBP, "):
        decode(saved(halves(), kind), LIMIT)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_before_its_pixels_are_decoded_and_without_a_warning() -> None:
    bomb = saved(Image.new("1", (20_000, 20_000)), "PNG")  # 400 million pixels in 50 kB: Pillow itself refuses
    large = saved(Image.new("1", (10_000, 10_000)), "PNG")  # Pillow would only warn
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for data, words in ((bomb, "not a readable picture"), (large, "10000x10000 pixels are more than data.max_pix")):
            with pytest.raises(ValueError, match=words):
                decode(data, LIMIT)
    assert decode(large, 10**8).size == (10_000, 10_000)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_never_raises_anything_but_value_errors() -> None:
    rng = random.Random(0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "hello" * 10
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
        data = saved(noise, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}))
        for _ in range(150):
            damaged = bytearray(data)
            for _ in range(rng.choice([1, 3, 10])):
                damaged[rng.randrange(rng.choice([200, len(damaged)]))] = rng.randrange(256)
            try:
                assert decode(bytes(damaged), LIMIT).mode == "RGB"
            except ValueError:
                continue


def test_threads_may_decode_at_once_and_leave_the_warning_filters_alone() -> None:
    data = saved(halves(), "PNG")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        sizes = set(pool.map(lambda _: decode(data, LIMIT).size, range(200)))
    assert sizes == {(40, 20)}
    assert warnings.filters == before
