"""Tell which shape, colour, background and size a picture shows, to count the sampled pictures that came out right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from draw_shapes import (
    BACKGROUNDS,
    BASE_COLOURS,
    BASE_SHAPES,
    DEMO_COLOURS,
    DEMO_SHAPES,
    PATTERNS,
    SIZES,
    Colour,
    Scene,
    paint,
)
from PIL import Image

CANVAS = 48
COLOURS = BASE_COLOURS | DEMO_COLOURS
# Distance in RGB from the background at which a pixel belongs to the shape.
APART = 48.0
# Less overlap than this with every known outline is no shape.
CLEAR = 0.75


def words(caption: str) -> Scene:
    """The scene that a caption of draw_shapes describes."""
    said = caption.split()

    def one(known: Sequence[str]) -> str:
        return next((word for word in said if word in known), "")

    shape, colour, background = one(BASE_SHAPES + DEMO_SHAPES), one(tuple(COLOURS)), one(tuple(BACKGROUNDS))
    return Scene(shape, colour, background, one(tuple(SIZES)), one(PATTERNS))


def nearest(colour: np.ndarray, known: Mapping[str, Colour]) -> str:
    return min(known, key=lambda name: float(np.linalg.norm(colour - np.asarray(known[name], np.float64))))


def normalised(mask: np.ndarray) -> np.ndarray:
    """The masked part stretched to a square canvas, so that place and size no longer matter."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    image = Image.fromarray((part * 255).astype(np.uint8)).resize((CANVAS, CANVAS), Image.Resampling.BOX)
    return np.asarray(image) > 127


@cache
def outlines() -> tuple[tuple[str, np.ndarray], ...]:
    """Several tilts of every shape, normalised."""
    found = []
    for shape in BASE_SHAPES + DEMO_SHAPES:
        for seed in range(6):
            scene = Scene(shape, "", "", "large")
            drawn = paint(scene, (255, 255, 255), (0, 0, 0), 128, 128, np.random.default_rng(seed))
            found.append((shape, normalised(np.asarray(drawn)[:, :, 0] > 127)))
    return tuple(found)


def read(picture: np.ndarray) -> Scene:
    """What uint8 [height, width, 3] shows; a shape is "" where nothing known is seen. Patterns are not told."""
    pixels = picture.astype(np.float64)
    frame = np.concatenate([pixels[:3].reshape(-1, 3), pixels[-3:].reshape(-1, 3), pixels[:, 0], pixels[:, -1]])
    ground = np.median(frame, 0)
    background = nearest(ground, BACKGROUNDS)
    mask = np.linalg.norm(pixels - ground, axis=-1) > APART
    # Specks do not make a shape larger: a row or column counts with at least two pixels.
    mask &= (mask.sum(1) > 1)[:, None] & (mask.sum(0) > 1)[None]
    if mask.mean() < 0.01:
        return Scene("", "", background)
    colour = nearest(np.median(pixels[mask], 0), COLOURS)
    seen = normalised(mask)
    overlap, shape = max((float((seen & known).sum() / (seen | known).sum()), name) for name, known in outlines())
    radius = max(np.ptp(np.flatnonzero(mask.any(axis))) + 1 for axis in (0, 1)) / 2 / min(mask.shape)
    size = min(SIZES, key=lambda name: abs(radius - sum(SIZES[name]) / 2))
    return Scene(shape if overlap >= CLEAR else "", colour, background, size)


def score(pictures: Sequence[np.ndarray], captions: Sequence[str]) -> dict[str, float]:
    """Shares of pictures with the right shape, colour, background and size, and with all but the size right."""
    right = []
    for picture, caption in zip(pictures, captions, strict=True):
        said, seen = words(caption), read(picture)
        right.append([getattr(said, name) == getattr(seen, name) for name in ("shape", "colour", "background", "size")])
    table = np.array(right, np.float64)
    shares = dict(zip(("shape", "colour", "background", "size"), table.mean(0).tolist(), strict=True))
    return shares | {"all": float(table[:, :3].all(1).mean())}
