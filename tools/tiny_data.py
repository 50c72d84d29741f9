"""The pictures that the tiny base model learns from, as arrays: drawn once, kept in the work folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from draw_shapes import BACKGROUNDS, BASE_COLOURS, Colour, choose_scene, draw, paint
from mindloom.framing import frame
from mindloom.images import PillowPicture

SIDE = 128


@dataclass(frozen=True)
class Pictures:
    """`pixels` uint8 [N, 3, 128, 128]; `time_ids` float32 [N, 6]: what SDXL is told about resize and crop."""

    pixels: np.ndarray
    captions: list[str]
    time_ids: np.ndarray


def base_pictures(work: Path, count: int, seed: int) -> Pictures:
    """`count` pictures of the theme `base`; a quarter is drawn at 128x128, the size that a sampler asks for."""
    file = work / f"base-{count}-{seed}.npz"
    if not file.exists():
        squares, captions, time_ids = [], [], []
        for index in range(count):
            rng = np.random.default_rng([seed, 2, index])
            width, height = (SIDE, SIDE) if index % 4 == 0 else (int(side) for side in rng.integers(144, 321, size=2))
            picture, caption = draw(rng, "base", width, height)
            framed = frame(PillowPicture(picture), SIDE, SIDE, nothing_random)
            squares.append(framed.pixels)
            captions.append(caption)
            time_ids.append(np.array([*framed.original, *framed.corner, SIDE, SIDE], np.float32))
        np.savez(file, pixels=np.stack(squares), captions=np.array(captions), ids=np.stack(time_ids))
    stored = np.load(file)
    return Pictures(stored["pixels"], [str(caption) for caption in stored["captions"]], stored["ids"])


def varied_pictures(work: Path, count: int, seed: int) -> np.ndarray:
    """uint8 [count, 3, 128, 128] for the autoencoder: any shape in any two colours, so that it limits no fine-tuning.

    Half of them have the colours of the theme `base`; the other half have colours drawn from the whole RGB cube.
    """
    file = work / f"varied-{count}-{seed}.npy"
    if not file.exists():
        squares = []
        for index in range(count):
            rng = np.random.default_rng([seed, 3, index])
            scene = choose_scene(rng, "varied" if index % 2 else "base")
            ground, fill = any_colour(rng), any_colour(rng)
            if index % 4 < 2:
                ground = BACKGROUNDS[scene.background]
                fill = BASE_COLOURS.get(scene.colour, fill)
            squares.append(np.asarray(paint(scene, fill, ground, SIDE, SIDE, rng)).transpose(2, 0, 1))
        np.save(file, np.stack(squares))
    return np.asarray(np.load(file))


def any_colour(rng: np.random.Generator) -> Colour:
    red, green, blue = (int(value) for value in rng.integers(0, 256, size=3))
    return red, green, blue


def nothing_random(purpose: str) -> np.random.Generator:
    raise RuntimeError(f"a centred crop needs no random numbers for '{purpose}'")


def to_unit(pixels: np.ndarray) -> np.ndarray:
    """uint8 to float32 in -1..1, what the VAE takes."""
    return np.asarray(pixels, dtype=np.float32) / 127.5 - 1.0


def to_pixels(pictures: np.ndarray) -> list[np.ndarray]:
    """float [B, 3, H, W] in -1..1 to uint8 pictures [H, W, 3]."""
    return list(np.clip((pictures.transpose(0, 2, 3, 1) + 1.0) * 127.5 + 0.5, 0, 255).astype(np.uint8))
