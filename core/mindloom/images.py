"""Decoding pictures: upright, 8-bit RGB, whatever came in, and never more pixels than allowed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

# Pillow warns of pictures that decode() may refuse. Set once: warnings.catch_warnings() is not for threads.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

Image.init()  # so that Image.OPEN is complete

WHITE = (255, 255, 255)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
"""What is decoded, where Pillow can. The rest of what it knows is out of reach of a data set: EPS runs Ghostscript."""


class Picture(Protocol):
    """One picture as every decoder delivers it: RGB, upright, on white where it was transparent.

    ``width`` and ``height`` are known from the start. The pixels may be decoded only when they are asked for, so both
    methods raise ``ValueError`` for data that turn out damaged. Used by one thread at a time.
    """

    width: int
    height: int

    def resize(self, width: int, height: int) -> np.ndarray:
        """Return uint8 ``[height, width, 3]``: bicubic, and averaged where it shrinks (antialiasing)."""
        ...

    def pixels(self) -> np.ndarray:
        """Return uint8 ``[self.height, self.width, 3]``."""
        ...


Decode = Callable[[bytes], Picture]
"""From the bytes of a picture's file to the picture. Raises ``ValueError`` for what is no picture or too large."""


class PillowPicture:
    """An image of Pillow's, in any mode, as a picture."""

    def __init__(self, image: Image.Image) -> None:
        self.image = rgb(image)
        self.width, self.height = image.size

    def resize(self, width: int, height: int) -> np.ndarray:
        return np.asarray(self.image.resize((width, height), Image.Resampling.BICUBIC))

    def pixels(self) -> np.ndarray:
        return np.asarray(self.image)


def decoder(name: str, max_pixels: int) -> Decode:
    """Return the decoder that ``data.decoder`` names: ``pillow``, or ``vips``, which is faster.

    Raises:
        UserError: what it needs is not installed.
    """
    if name == "vips":
        from .vips import vips_decoder

        return vips_decoder(max_pixels)
    if name != "pillow":
        raise ValueError(f"no decoder is called {name!r}")
    return lambda data: PillowPicture(decode(data, max_pixels))


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """Decode one picture with Pillow.

    The EXIF rotation is applied before anybody reads the size, transparency is laid over white, 16-bit greyscale keeps
    its high byte, and an animation gives its first frame.

    Raises:
        ValueError: it is no picture in one of ``FORMATS``, it is damaged, or it has more than ``max_pixels`` pixels.
    """
    image = header(io.BytesIO(data), max_pixels)
    with readable():
        ImageOps.exif_transpose(image, in_place=True)
        return rgb(image)


def size_of(data: bytes | BinaryIO, max_pixels: int) -> tuple[int, int]:
    """Return width and height of the upright picture, from its header and without decoding it.

    Raises:
        ValueError: it is no picture in one of ``FORMATS``, or it has more than ``max_pixels`` pixels.
    """
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    image = header(file, max_pixels)
    width, height = size = stored_size(image)
    return (height, width) if orientation(image, file) > 4 else size


def header(file: BinaryIO, max_pixels: int) -> Image.Image:
    """Open a picture in one of ``FORMATS`` that is no larger than allowed; nothing is decoded yet."""
    with readable():
        image = Image.open(file, formats=[kind for kind in FORMATS if kind in Image.OPEN])
    width, height = image.size
    if width * height > max_pixels:
        raise ValueError(f"{width}x{height} pixels are more than data.max_pixels")
    return image


@contextmanager
def readable() -> Iterator[None]:
    """Make a ``ValueError`` of whatever Pillow's parsers stumble over in a damaged file."""
    try:
        yield
    except UnidentifiedImageError:
        known = [kind for kind in FORMATS if kind in Image.OPEN]
        raise ValueError(f"not a readable picture in one of the formats {', '.join(known)}") from None
    except Image.DecompressionBombError:
        raise ValueError(f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels, which is never decoded") from None
    except Exception as error:
        raise ValueError(f"not a readable picture: {error}") from error


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height before the EXIF rotation. Pillow turns the size of a TIFF beforehand, since version 11."""
    if image.format != "TIFF":
        return image.size
    tags = image.tag_v2  # type: ignore[attr-defined]
    return tags[ExifTags.Base.ImageWidth], tags[ExifTags.Base.ImageLength]


def orientation(image: Image.Image, file: BinaryIO) -> int:
    """EXIF's orientation, 1 to 8, of a picture that is not decoded yet; above 4, width and height change places."""
    with readable():
        # A PNG's own getexif() would decode it all to see what stands behind the pixels, which hardly ever matters.
        late = image.format == "PNG" and "exif" not in image.info and told_late(file)
        exif = image.getexif() if late else Image.Image.getexif(image)
        found = exif.get(ExifTags.Base.Orientation, 1)
    return int(found) if found in range(1, 9) else 1


def told_late(file: BinaryIO) -> bool:
    """Whether a PNG has EXIF or text (XMP among it) behind its pixels, which is allowed and rare."""
    place = file.tell()
    file.seek(8)
    pixels = late = False
    while len(head := file.read(8)) == 8 and not late:
        kind = head[4:]
        pixels = pixels or kind == b"IDAT"
        late = pixels and kind in (b"eXIf", b"iTXt", b"zTXt", b"tEXt")
        file.seek(int.from_bytes(head[:4], "big") + 4, io.SEEK_CUR)
    file.seek(place)
    return late


def rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        # convert("RGB") would clip 16-bit greyscale to white instead of scaling it.
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        sheet = Image.new("RGB", image.size, WHITE)
        sheet.paste(image, mask=image.getchannel("A"))
        return sheet
    return image.convert("RGB")
