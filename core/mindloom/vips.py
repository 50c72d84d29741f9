"""The decoder ``vips``: libvips decodes and resizes the usual pictures, faster than Pillow and nearly the same.

Pillow still reads every header. So both decoders see the same sizes and rotations, and libvips is only ever asked for
a loader by name (JPEG, PNG, WebP), never to guess one. What is unusual (CMYK, 1 or 16 bits, animations, other formats)
and what libvips cannot read is left to Pillow altogether. Of what Pillow calls damaged, libvips reads a few JPEGs.
"""

from __future__ import annotations

import io
import logging

import numpy as np
from PIL import Image

from .errors import UserError
from .images import WHITE, Decode, Picture, PillowPicture, decode, header, orientation

LOADERS = {"JPEG": "jpegload_buffer", "PNG": "pngload_buffer", "WEBP": "webpload_buffer"}
MODES = ("L", "LA", "P", "RGB", "RGBA")


def vips_decoder(max_pixels: int) -> Decode:
    """Return the decoder. It sets up libvips for the whole process.

    Raises:
        UserError: pyvips is not installed, or finds no libvips.
    """
    try:
        import pyvips
    except (ImportError, OSError) as error:  # OSError: pyvips without a library to load
        raise UserError(
            f"the decoder vips needs pyvips ({error}): pip install pyvips pyvips-binary, or choose pillow",
            setting="data.decoder",
        ) from None
    pyvips.block_untrusted_set(True)
    pyvips.concurrency_set(1)  # the core's workers are the threads
    pyvips.cache_set_max(0)  # no picture comes twice
    logging.getLogger("pyvips").setLevel(logging.ERROR)  # it would print a line for every oddity of a file

    def open_picture(data: bytes) -> Picture:
        file = io.BytesIO(data)
        image = header(file, max_pixels)
        if usual(image):
            return VipsPicture(data, LOADERS[str(image.format)], image.size, orientation(image, file), max_pixels)
        return PillowPicture(decode(data, max_pixels))

    return open_picture


def usual(image: Image.Image) -> bool:
    """Whether libvips makes the same of a picture as Pillow does."""
    return image.format in LOADERS and image.mode in MODES and not getattr(image, "is_animated", False)


class VipsPicture:
    """A picture that is decoded when its pixels are asked for, by the thread that asks."""

    def __init__(self, data: bytes, loader: str, size: tuple[int, int], orientation: int, max_pixels: int) -> None:
        self.data, self.loader, self.size, self.max_pixels = data, loader, size, max_pixels
        self.orientation = orientation
        self.width, self.height = self.turned(size)

    def turned(self, size: tuple[int, int]) -> tuple[int, int]:
        """Exchange width and height for an EXIF orientation that lies on its side."""
        return size[::-1] if self.orientation > 4 else size

    def resize(self, width: int, height: int) -> np.ndarray:
        return self._read((width, height))

    def pixels(self) -> np.ndarray:
        return self._read((self.width, self.height))

    def _read(self, size: tuple[int, int]) -> np.ndarray:
        import pyvips

        try:
            stored = self._stored(self.turned(size))
        except pyvips.Error:
            stored = None
        if stored is not None:
            return upright(stored, self.orientation)
        # Pillow has the last word: it says what is wrong with the file, or reads it after all.
        return scaled(PillowPicture(decode(self.data, self.max_pixels)), size)

    def _stored(self, size: tuple[int, int]) -> np.ndarray | None:
        """The picture as it lies in the file, in another size; None if libvips sees something unusual in it."""
        import pyvips

        # The rows are read once, from the top: nothing holds the whole picture.
        image = getattr(pyvips.Image, self.loader)(self.data, access="sequential", fail_on="error")
        if image.format != "uchar" or image.bands > 4 or (image.width, image.height) != self.size:
            return None
        if image.hasalpha():
            image = image.flatten(background=list(WHITE[: image.bands - 1]))
        shrinks = size != self.size and size[0] <= self.size[0] and size[1] <= self.size[1]
        if shrinks:
            # gap=0: everything is done by the cubic kernel, nothing by averaging whole pixels beforehand.
            image = image.resize(size[0] / self.size[0], vscale=size[1] / self.size[1], kernel="cubic", gap=0)
        if image.bands == 1:
            image = image.bandjoin([image, image])
        if image.bands != 3:
            return None
        array = np.frombuffer(image.write_to_memory(), np.uint8).reshape(image.height, image.width, 3)
        # libvips enlarges three times slower than Pillow, and 15 dB further from it than it shrinks.
        return array if shrinks else scaled(PillowPicture(Image.fromarray(array)), size)


def scaled(picture: Picture, size: tuple[int, int]) -> np.ndarray:
    """The pixels of a picture in some size, its own too."""
    return picture.pixels() if size == (picture.width, picture.height) else picture.resize(*size)


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Apply EXIF's orientation (tag 274) to ``[height, width, 3]``."""
    if orientation > 4:
        stored = stored.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    return np.ascontiguousarray(stored)
