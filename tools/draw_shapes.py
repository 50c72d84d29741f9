"""Draw a captioned data set of coloured shapes: JPEG files of many sizes and a `dir,text` CSV.

    python tools/draw_shapes.py data/shapes --count 160 --theme demo --holdout 32

Theme `base` is what the tiny base model was trained on; theme `demo` holds shapes that it has never
seen, plus some known ones so that fine-tuning does not forget them. The same seed always gives the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

BASE_SHAPES = ("circle", "square", "triangle", "diamond", "ring", "cross")
DEMO_SHAPES = ("star", "heart")
BASE_COLOURS: dict[str, Colour] = {
    "red": (214, 40, 40), "green": (44, 160, 60), "blue": (40, 90, 220), "yellow": (244, 206, 40),
    "pink": (244, 130, 180), "brown": (126, 78, 44), "white": (250, 250, 250),
}  # fmt: skip
DEMO_COLOURS: dict[str, Colour] = {"orange": (244, 128, 24), "purple": (128, 50, 170), "teal": (20, 150, 150)}
BACKGROUNDS: dict[str, Colour] = {
    "light": (236, 236, 232), "dark": (34, 34, 40), "grey": (132, 132, 136), "sand": (216, 190, 148),
    "navy": (22, 36, 92),
}  # fmt: skip
SIZES: dict[str, tuple[float, float]] = {"small": (0.15, 0.19), "": (0.24, 0.28), "large": (0.34, 0.39)}
DEMO_BACKGROUNDS = ("light", "dark", "navy")
DEMO_SIZES = ("", "large")
PATTERNS = ("striped",)
# Pairs that a reader could not tell apart are never drawn.
TOO_CLOSE = {("white", "light"), ("blue", "navy"), ("brown", "dark"), ("brown", "sand"), ("yellow", "sand")}
# Every word a caption can hold; a tokenizer built from it gives each word one token.
VOCABULARY = (
    "a", "an", "on", "background", *filter(None, SIZES), *PATTERNS,
    *BASE_SHAPES, *DEMO_SHAPES, *BASE_COLOURS, *DEMO_COLOURS, *BACKGROUNDS,
)  # fmt: skip
SUPERSAMPLING = 4


@dataclass(frozen=True)
class Scene:
    """What a caption says: every field is a word of it, or empty."""

    shape: str
    colour: str
    background: str
    size: str = ""
    pattern: str = ""

    @property
    def caption(self) -> str:
        words = [word for word in (self.size, self.pattern, self.colour, self.shape) if word]
        article = "an" if words[0][0] in "aeiou" else "a"
        return f"{article} {' '.join(words)} on a {self.background} background"


def pick(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    return names[int(rng.integers(len(names)))]


def choose_scene(rng: np.random.Generator, theme: str) -> Scene:
    """`base`: what the base model learns. `demo`: 80 % with an unseen shape, 20 % known. `varied`: anything.

    `demo` keeps to a few backgrounds and to sizes that show the shape well, because a few minutes of fine-tuning are to
    teach it.
    """
    colours, shapes = BASE_COLOURS, tuple(BASE_SHAPES)
    backgrounds, sizes = tuple(BACKGROUNDS), tuple(SIZES)
    pattern = ""
    if theme == "demo":
        kind = rng.random()
        shapes = DEMO_SHAPES if kind < 0.8 else BASE_SHAPES
        backgrounds, sizes = DEMO_BACKGROUNDS, DEMO_SIZES
    elif theme == "varied":
        kind = rng.random()
        shapes = DEMO_SHAPES if kind < 0.5 else BASE_SHAPES
        colours = DEMO_COLOURS if 0.3 <= kind < 0.7 else BASE_COLOURS
        pattern = "striped" if 0.7 <= kind < 0.8 else ""
    while True:
        scene = Scene(
            pick(rng, tuple(shapes)), pick(rng, tuple(colours)), pick(rng, backgrounds),
            # Stripes need room: a small shape would hold only one.
            "large" if pattern else pick(rng, sizes), pattern,
        )  # fmt: skip
        if (scene.colour, scene.background) not in TOO_CLOSE:
            return scene


def outline(shape: str, radius: float) -> list[Point]:
    """Polygon around (0, 0), y down, of the shapes that are polygons; equal `radius` looks equally large."""
    if shape == "square":
        corners = [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]
    elif shape == "triangle":
        corners = [(0.0, -0.95), (1.0, 0.8), (-1.0, 0.8)]
    elif shape == "diamond":
        corners = [(0.0, -1.0), (0.75, 0.0), (0.0, 1.0), (-0.75, 0.0)]
    elif shape == "cross":
        quarter = [(-0.32, -1.0), (0.32, -1.0), (0.32, -0.32)]
        corners = []
        for _ in range(4):
            corners += quarter
            quarter = [(-y, x) for x, y in quarter]
    elif shape == "star":
        turns = [(k * math.pi / 5, 1.05 if k % 2 == 0 else 0.45) for k in range(10)]
        corners = [(length * math.sin(angle), -length * math.cos(angle)) for angle, length in turns]
    elif shape == "heart":
        # x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t (the usual heart curve), scaled to about +-1.
        ts = [k * math.pi / 40 for k in range(80)]
        corners = [
            (math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16)
            for t in ts
        ]
    else:
        raise ValueError(f"unknown shape '{shape}'; known: {', '.join(BASE_SHAPES + DEMO_SHAPES)}")
    return [(radius * x, radius * y) for x, y in corners]


def vary(rng: np.random.Generator, colour: Colour, amount: int = 8) -> Colour:
    red, green, blue = (int(np.clip(c + rng.integers(-amount, amount + 1), 0, 255)) for c in colour)
    return red, green, blue


def paint(scene: Scene, fill: Colour, ground: Colour, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """The scene in RGB; size and place are fractions of the shorter side, so that a centred crop keeps the shape."""
    short = min(width, height) * SUPERSAMPLING
    big = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    radius = float(rng.uniform(*SIZES[scene.size])) * short
    centre_x, centre_y = (side / 2 + float(rng.uniform(-0.05, 0.05)) * short for side in big)
    tilt = math.radians(float(rng.uniform(-6, 6)))
    mask = Image.new("L", big, 0)
    pen = ImageDraw.Draw(mask)
    if scene.shape in ("circle", "ring"):
        pen.ellipse((centre_x - radius, centre_y - radius, centre_x + radius, centre_y + radius), fill=255)
        if scene.shape == "ring":
            hole = 0.55 * radius
            pen.ellipse((centre_x - hole, centre_y - hole, centre_x + hole, centre_y + hole), fill=0)
    else:
        sin, cos = math.sin(tilt), math.cos(tilt)
        points = outline(scene.shape, radius)
        pen.polygon([(centre_x + x * cos - y * sin, centre_y + x * sin + y * cos) for x, y in points], fill=255)
    if scene.pattern == "striped":
        stripe = round(0.08 * short)
        for top in range(round(centre_y - 7.5 * stripe), big[1], 2 * stripe):
            pen.rectangle((0, top, big[0], top + stripe - 1), fill=0)
    picture = Image.new("RGB", big, ground)
    picture.paste(fill, mask=mask)
    return picture.resize((width, height), Image.Resampling.BOX)


def draw(rng: np.random.Generator, theme: str, width: int, height: int) -> tuple[Image.Image, str]:
    """One picture of the theme and its caption."""
    scene = choose_scene(rng, theme)
    colours = BASE_COLOURS | DEMO_COLOURS
    fill, ground = vary(rng, colours[scene.colour]), vary(rng, BACKGROUNDS[scene.background])
    return paint(scene, fill, ground, width, height, rng), scene.caption


def draw_many(count: int, seed: int, theme: str, part: int = 0) -> Iterator[tuple[Image.Image, str]]:
    """`count` pictures with sides of 144 to 320 pixels; `part` separates sets of one seed (0 training, 1 holdout)."""
    for index in range(count):
        # A generator of its own for each picture: a larger set starts with the pictures of the smaller one.
        rng = np.random.default_rng([seed, part, index])
        width, height = (int(side) for side in rng.integers(144, 321, size=2))
        yield draw(rng, theme, width, height)


def write_folder(folder: Path, count: int, seed: int, theme: str, part: int = 0) -> Path:
    """JPEG files and `img_txt.csv` with the columns `dir` (path relative to the folder) and `text`; returns the CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "img_txt.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("dir", "text"))
        for index, (picture, caption) in enumerate(draw_many(count, seed, theme, part)):
            name = f"{index:05d}.jpg"
            picture.save(folder / name, quality=92)
            rows.writerow((name, caption))
    return table


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="folder to fill: its sub-folder train, and holdout")
    parser.add_argument("--count", type=int, default=200, help="pictures to draw")
    parser.add_argument("--holdout", type=int, default=0, help="further pictures, written into OUT/holdout")
    parser.add_argument("--theme", choices=("base", "demo"), default="demo")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.count < 1 or args.holdout < 0:
        parser.error("--count must be at least 1 and --holdout at least 0")
    print(f"{args.count} pictures: {write_folder(args.out / 'train', args.count, args.seed, args.theme)}")
    if args.holdout:
        table = write_folder(args.out / "holdout", args.holdout, args.seed, args.theme, part=1)
        print(f"{args.holdout} pictures: {table}")


if __name__ == "__main__":
    main()
