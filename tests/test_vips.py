"""The decoder on libvips gives what Pillow's gives, nearly, and refuses what Pillow's refuses."""

from __future__ import annotations

import io
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from mindloom import UserError
from mindloom.images import Decode, PillowPicture, decoder
from PIL import Image

LIMIT = 10_000_000


@pytest.fixture(scope="module")
def vips() -> Decode:
    pytest.importorskip("pyvips")
    return decoder("vips", LIMIT)


pillow = decoder("pillow", LIMIT)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width: int, height: int) -> Image.Image:
    """Large and small shapes with grain, as photographs have them."""
    rng = np.random.default_rng(0)

    def shapes(pitch: int) -> np.ndarray:
        few = rng.integers(0, 256, (height // pitch + 2, width // pitch + 2, 3), np.uint8)
        return np.asarray(Image.fromarray(few).resize((width, height), Image.Resampling.BICUBIC), np.float32)

    pixels = 0.7 * shapes(40) + 0.3 * shapes(6) + rng.normal(0, 6, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of 8-bit pictures."""
    error = np.mean((one.astype(np.float64) - other) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 92}), ("PNG", {}), ("WEBP", {"quality": 90})])
@pytest.mark.parametrize(
    ("size", "goal"),
    [
        ((300, 300), (205, 205)),
        ((300, 300), (299, 300)),
        ((600, 400), (96, 64)),
        ((300, 200), (384, 256)),
        ((64, 48), (1024, 768)),
        ((401, 300), (200, 400)),
    ],
)
def test_resized_pictures_are_those_of_pillow_to_45_decibels(
    vips: Decode, kind: str, options: dict[str, Any], size: tuple[int, int], goal: tuple[int, int]
) -> None:
    data = saved(photo(*size), kind, **options)
    resized = vips(data).resize(*goal)
    assert (resized.dtype, resized.shape) == (np.uint8, (goal[1], goal[0], 3))
    assert decibels(resized, pillow(data).resize(*goal)) >= 45
    np.testing.assert_array_equal(vips(data).pixels(), pillow(data).pixels())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright(vips: Decode, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(photo(60, 40), "JPEG", exif=exif, quality=95)
    picture = vips(data)
    assert (picture.width, picture.height) == ((60, 40) if orientation < 5 else (40, 60))
    np.testing.assert_array_equal(picture.pixels(), pillow(data).pixels())
    assert decibels(picture.resize(20, 24), pillow(data).resize(20, 24)) >= 45


def kinds() -> dict[str, bytes]:
    image = photo(50, 40)
    alpha = image.convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(image.size))
    palette = image.quantize(16)
    grey16 = Image.fromarray(np.linspace(0, 65535, 2000, dtype=np.uint16).reshape(40, 50))
    others = [Image.new("RGB", image.size, "red")]
    return {
        "grey JPEG": saved(image.convert("L"), "JPEG"),
        "CMYK JPEG": saved(image.convert("CMYK"), "JPEG"),
        "grey PNG": saved(image.convert("L"), "PNG"),
        "bilevel PNG": saved(image.convert("1"), "PNG"),
        "palette": saved(palette, "PNG"),
        "palette with a hole": saved(palette, "PNG", transparency=palette.getpixel((2, 5))),
        "colour key": saved(image, "PNG", transparency=image.getpixel((3, 3))),
        "alpha PNG": saved(alpha, "PNG"),
        "grey alpha PNG": saved(alpha.convert("LA"), "PNG"),
        "alpha WebP": saved(alpha, "WEBP", lossless=True, exact=True),
        "16 bits": saved(grey16, "PNG"),
        "animated PNG": saved(image, "PNG", save_all=True, append_images=others),
        "animated WebP": saved(image, "WEBP", save_all=True, append_images=others, lossless=True),
        **{kind: saved(image, kind) for kind in ("GIF", "BMP", "TIFF", "PPM", "JPEG2000")},
    }


@pytest.mark.parametrize("name", list(kinds()))
def test_every_kind_and_mode_comes_out_as_with_pillow(vips: Decode, name: str) -> None:
    data = kinds()[name]
    np.testing.assert_allclose(vips(data).pixels().astype(int), pillow(data).pixels(), atol=1)
    # Black against white within a pixel, as here, is as far as the two get from one another.
    assert decibels(vips(data).resize(30, 24), pillow(data).resize(30, 24)) >= 40


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused(vips: Decode, kind: str, share: float) -> None:
    data = saved(photo(64, 64), kind)
    with pytest.raises(ValueError, match="not a readable picture") as caught:
        vips(data[: int(share * len(data))]).resize(32, 32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8\xff", b"%PDF-1.4", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", b"II*\0"],
)
def test_what_is_no_picture_is_refused(vips: Decode, data: bytes) -> None:
    with pytest.raises(ValueError, match="not a readable picture"):
        vips(data)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_before_libvips_sees_it(vips: Decode) -> None:
    with pytest.raises(ValueError, match="10000x10000 pixels are more"):
        vips(saved(Image.new("1", (10_000, 10_000)), "PNG"))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_never_raises_anything_but_value_errors(vips: Decode) -> None:
    rng = random.Random(0)
    for kind in ("JPEG", "PNG", "WEBP"):
        data = saved(photo(40, 50), kind)
        outcomes = set()
        for _ in range(150):
            damaged = bytearray(data)
            for _ in range(rng.choice([1, 3, 10])):
                damaged[rng.randrange(rng.choice([200, len(damaged)]))] = rng.randrange(256)
            try:
                outcomes.add(vips(bytes(damaged)).resize(24, 24).shape)
            except ValueError:
                outcomes.add(None)
        assert outcomes <= {None, (24, 24, 3)}
        assert None in outcomes


def test_threads_get_the_same_pictures_again_and_again(vips: Decode) -> None:
    data = saved(photo(300, 200), "JPEG")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: vips(data).resize(150, 100).tobytes(), range(40)))
    assert len(set(found)) == 1


def test_other_pictures_do_not_start_threads_of_their_own(vips: Decode) -> None:
    import pyvips

    vips(saved(photo(64, 64), "PNG"))
    assert pyvips.concurrency_get() == 1
    assert pyvips.cache_get_max() == 0


def test_without_pyvips_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(UserError, match="pip install pyvips pyvips-binary") as caught:
        decoder("vips", LIMIT)
    assert caught.value.setting == "data.decoder"
    assert decoder("pillow", LIMIT)(saved(photo(4, 4), "PNG")).width == 4
    assert PillowPicture(photo(4, 4)).height == 4
