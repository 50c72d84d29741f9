"""Decoding pictures: upright, 8-bit RGB, whatever came in, and never more pixels than allowed."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Pillow warns of pictures that decode() may refuse. Set once: warnings.catch_warnings() is not for threads.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

Image.init()  # so that Image.OPEN is complete

WHITE = (255, 255, 255)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
"""What is decoded, where Pillow can. The rest of what it knows is out of reach of a data set: EPS runs Ghostscript."""


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """Decode one picture.

    The EXIF rotation is applied before anybody reads the size, transparency is laid over white, 16-bit greyscale keeps
    its high byte, and an animation gives its first frame.

    Raises:
        ValueError: it is no picture in one of ``FORMATS``, it is damaged, or it has more than ``max_pixels`` pixels.
    """
    known = [kind for kind in FORMATS if kind in Image.OPEN]
    try:
        image = Image.open(io.BytesIO(data), formats=known)
        width, height = image.size
        if width * height <= max_pixels:
            return rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise ValueError(f"not a readable picture in one of the formats {', '.join(known)}") from None
    except Exception as error:  # damaged files make Pillow raise whatever its parsers stumble over
        raise ValueError(f"not a readable picture: {error}") from error
    raise ValueError(f"{width}x{height} pixels are more than data.max_pixels")


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
