"""Decoding: whatever comes in leaves as upright 8-bit RGB, or as a ValueError."""

from __future__ import annotations

import io
import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from mindloom.images import PillowPicture, decode, decoder, size_of
from PIL import Image
from PIL.PngImagePlugin import PngInfo

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
        for data, words in (
            (bomb, "more than 178956970 pixels, which is never decoded"),
            (large, "10000x10000 pixels are more than data.max_pix"),
        ):
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


def test_the_picture_of_the_decoder_is_the_decoded_image() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8))
    picture = decoder("pillow", LIMIT)(saved(noise, "PNG"))
    assert (picture.width, picture.height) == (41, 30)
    np.testing.assert_array_equal(picture.pixels(), np.asarray(noise))
    np.testing.assert_array_equal(picture.resize(20, 17), np.asarray(noise.resize((20, 17), Image.Resampling.BICUBIC)))
    with pytest.raises(ValueError, match="not a readable picture"):
        decoder("pillow", LIMIT)(b"no picture")


def test_an_image_of_any_mode_is_a_picture() -> None:
    picture = PillowPicture(Image.new("LA", (3, 2), (9, 0)))
    assert picture.pixels().shape == (2, 3, 3)
    assert (picture.pixels() == 255).all()


def sized() -> dict[str, bytes]:
    """Pictures whose size is told in different ways."""
    exif, meta = Image.Exif(), PngInfo()
    exif[0x0112] = 6
    meta.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="8"/>')
    exotic = Image.Exif()
    exotic[0x0112] = 99
    plain, behind = saved(halves(), "PNG"), saved(halves(), "PNG", exif=exif)
    start = behind.index(b"eXIf") - 4
    chunk = behind[start : start + 12 + int.from_bytes(behind[start : start + 4], "big")]
    return {
        "JPEG": saved(halves(), "JPEG"),
        "JPEG, turned": saved(halves(), "JPEG", exif=exif),
        "JPEG, orientation 99": saved(halves(), "JPEG", exif=exotic),
        "PNG": plain,
        "PNG, turned": behind,
        "PNG, turned behind its pixels": plain[:-12] + chunk + plain[-12:],
        "PNG, turned by XMP": saved(halves(), "PNG", pnginfo=meta),
        "WebP, turned": saved(halves(), "WEBP", exif=exif),
        "TIFF": saved(halves(), "TIFF"),
        "TIFF, turned": saved(halves(), "TIFF", exif=exif),
        "GIF": saved(halves(), "GIF"),
    }


@pytest.mark.parametrize("name", list(sized()))
def test_the_size_in_the_header_is_the_size_of_the_decoded_picture(name: str) -> None:
    data = sized()[name]
    assert size_of(data, LIMIT) == decode(data, LIMIT).size == ((20, 40) if "turned" in name else (40, 20))
    assert size_of(io.BytesIO(data), LIMIT) == size_of(data, LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_size_is_read_without_decoding(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 98, 3), np.uint8)), kind)
    opened = type(Image.open(io.BytesIO(data)))
    monkeypatch.setattr(opened, "load", lambda self: pytest.fail("decoded"))
    assert size_of(data, LIMIT) == (98, 99)
    if kind != "WEBP":  # libwebp wants the whole file before it says anything
        assert size_of(data[: len(data) // 2], LIMIT) == (98, 99)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("data", [b"", b"not a picture", saved(Image.new("1", (10_000, 10_000)), "PNG")])
def test_what_cannot_be_decoded_has_no_size(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a readable picture|10000x10000 pixels are more than data\.max_pixels"):
        size_of(data, LIMIT)
