"""The shape drawer gives what its captions say, the same every time; the tiny base model can be made again."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

pytestmark = pytest.mark.together

TOOLS = Path(__file__).parents[1] / "tools"
sys.path.insert(0, str(TOOLS))

import draw_shapes  # noqa: E402
import read_shapes  # noqa: E402


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "img_txt.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shapes")
    draw_shapes.main([str(out), "--count", "24", "--holdout", "6", "--seed", "3", "--theme", "demo"])
    return out / "train"


def test_the_table_lists_exactly_the_files_that_were_drawn(folder: Path) -> None:
    for place, count in ((folder, 24), (folder.parent / "holdout", 6)):
        listed = [row["dir"] for row in rows(place)]
        assert len(listed) == count
        assert sorted(listed) == sorted(path.name for path in place.glob("*.jpg"))


def test_sides_vary_within_their_bounds(folder: Path) -> None:
    sizes = [Image.open(folder / row["dir"]).size for row in rows(folder)]
    assert len(set(sizes)) > 20
    assert all(144 <= side <= 320 for size in sizes for side in size)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(folder: Path, tmp_path: Path) -> None:
    draw_shapes.write_folder(tmp_path / "same", 8, 3, "demo")
    draw_shapes.write_folder(tmp_path / "other", 8, 4, "demo")
    for row in rows(tmp_path / "same"):
        drawn = (tmp_path / "same" / row["dir"]).read_bytes()
        assert drawn == (folder / row["dir"]).read_bytes()
        assert drawn != (tmp_path / "other" / row["dir"]).read_bytes()
    assert rows(tmp_path / "same") == rows(folder)[:8]


def test_no_picture_of_the_holdout_is_among_the_training_pictures(folder: Path) -> None:
    training = {path.read_bytes() for path in folder.glob("*.jpg")}
    assert not training & {path.read_bytes() for path in (folder.parent / "holdout").glob("*.jpg")}


def test_every_word_of_every_caption_is_in_the_vocabulary(folder: Path) -> None:
    assert {word for row in rows(folder) for word in row["text"].split()} <= set(draw_shapes.VOCABULARY)


def test_the_base_theme_never_says_what_the_demo_teaches() -> None:
    unseen = {*draw_shapes.DEMO_SHAPES, *draw_shapes.DEMO_COLOURS, *draw_shapes.PATTERNS}
    rng = np.random.default_rng(0)
    captions = [draw_shapes.choose_scene(rng, "base").caption for _ in range(500)]
    assert not unseen & {word for caption in captions for word in caption.split()}


def test_the_middle_of_a_picture_has_the_colour_that_its_caption_names() -> None:
    colours = draw_shapes.BASE_COLOURS | draw_shapes.DEMO_COLOURS
    for picture, caption in draw_shapes.draw_many(40, 0, "demo"):
        words = caption.split()
        if "ring" in words or "striped" in words:
            continue
        named = next(colours[word] for word in words if word in colours)
        width, height = picture.size
        middle = np.asarray(picture.getpixel((width // 2, height // 2)))
        assert np.abs(middle - np.asarray(named)).max() <= 8, caption


@pytest.mark.parametrize("shape", [*draw_shapes.BASE_SHAPES, *draw_shapes.DEMO_SHAPES])
def test_edges_are_antialiased_and_the_shape_stays_inside(shape: str) -> None:
    scene = draw_shapes.Scene(shape, "red", "light", "large")
    picture = draw_shapes.paint(scene, (255, 0, 0), (0, 0, 0), 128, 160, np.random.default_rng(0))
    red = np.asarray(picture)[:, :, 0]
    assert len(np.unique(red)) > 4
    assert not red[0].any()
    assert not red[-1].any()
    assert not red[:, 0].any()
    assert not red[:, -1].any()


@pytest.mark.parametrize("theme", ["base", "demo"])
def test_what_was_drawn_is_read_back(theme: str) -> None:
    drawn = [pair for pair in draw_shapes.draw_many(60, 1, theme) if "striped" not in pair[1]]
    squares = [np.asarray(ImageOps.fit(picture, (128, 128))) for picture, _ in drawn]
    shares = read_shapes.score(squares, [caption for _, caption in drawn])
    assert shares["all"] == 1.0
    assert shares["size"] > 0.9


def test_an_empty_picture_and_a_blur_are_no_shape() -> None:
    assert read_shapes.read(np.full((128, 128, 3), 34, np.uint8)) == draw_shapes.Scene("", "", "dark")
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    assert read_shapes.score([noise], ["a red star on a light background"])["all"] == 0.0


@pytest.mark.slow
@pytest.mark.extra
def test_the_tiny_base_can_be_made_again_and_its_unet_alone(tmp_path: Path) -> None:
    root = TOOLS.parent
    out, work = tmp_path / "tiny.safetensors", tmp_path / "work"
    command = [sys.executable, str(TOOLS / "make_tiny.py"), "--out", str(out), "--work", str(work), "--pictures", "32"]
    command += ["--vae-steps", "2", "--vae-whole-steps", "0", "--unet-steps", "2", "--unet-batch", "2"]
    command += ["--sample-steps", "0"]
    paths = os.pathsep.join([str(root / "core"), str(root / "plugins" / "sdxl"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "GLOG_v": "3"}

    def run(stage: str) -> bytes:
        subprocess.run([*command, "--stage", stage], check=True, env=environment, cwd=tmp_path, timeout=300)
        return out.read_bytes()

    first = run("all")
    assert len(first) <= 8_000_000
    assert sorted(path.name for path in work.glob("*.safetensors")) == ["unet.safetensors", "vae.safetensors"]
    assert run("unet") == first
