"""``mindloom sample``: what it writes, what pictures depend on, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mindloom_sdxl
import numpy as np
import pytest
from mindloom import UserError, cli
from mindloom_sdxl.commands.sample_inputs import fitting_size, initial_latents, known_settings
from mindloom_sdxl.picture_files import parameters
from mindloom_sdxl.presets import BASE, TINY
from PIL import Image

WEIGHTS = Path(mindloom_sdxl.__file__).parent / "assets" / "tiny.safetensors"
FACTS = {
    "prompt": "a disc", "negative": "a star", "steps": 25, "scheduler": "euler_karras", "guidance": 5.0, "seed": 7,
    "size": [96, 64], "weights": "mine.safetensors", "weights_sha256": "0123456789abcdef",
    "versions": {"mindloom": "1.2.3"},
}  # fmt: skip


def sample(*argv: str | Path) -> int:
    try:
        return cli.main(["sample", "--weights", str(WEIGHTS), *map(str, argv)])
    except SystemExit as stop:
        return int(stop.code or 0)


def test_a_folder_of_pictures_that_depend_on_seed_and_number_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mindloom")
    (tmp_path / "prompts.txt").write_text("# shapes\na blue square\n\nein grüner Stern\n", encoding="utf-8")
    common = ["--seed", "7", "--steps", "2", "--size", "64x32"]
    many = ["--prompt", "a red disc", "--prompts", tmp_path / "prompts.txt", "--batch", "2", "--out", tmp_path / "new"]
    assert sample(*many, *common, "--save_latents", tmp_path / "all.npy") == 0
    files = [tmp_path / "new" / f"0000{i}.png" for i in range(3)]
    assert capsys.readouterr().out.split() == [*map(str, files), str(tmp_path / "all.npy")]
    assert "compiling the UNet for 2 of 64 x 32" in caplog.text
    pictures = [Image.open(file) for file in files]
    assert [picture.size for picture in pictures] == [(64, 32)] * 3
    told = [json.loads(picture.text["mindloom"]) for picture in pictures]  # type: ignore[attr-defined]
    assert [facts["prompt"] for facts in told] == ["a red disc", "a blue square", "ein grüner Stern"]
    assert [facts["index"] for facts in told] == [0, 1, 2]
    assert (told[0]["negative"], told[0]["original_size"], told[0]["crop"]) == (None, [64, 32], [0, 0])
    assert len(told[0]["weights_sha256"]) == 64

    # The last picture in another batch, in half precision: the same noise.
    assert "were cut" not in caplog.text
    alone = [
        "--prompt",
        "ein grüner Stern" + 80 * " ",
        "--prompt",
        "a red disc and " * 40,
        "--first",
        "2",
        "--dtype",
        "float16",
    ]
    assert sample(*alone, *common, "--save_latents", tmp_path / "one.npy") == 0
    latents, one = np.load(tmp_path / "all.npy"), np.load(tmp_path / "one.npy")
    assert (latents.shape, one.shape) == ((3, 4, 4, 8), (2, 4, 4, 8))
    assert "1 of 2 captions so far were cut after 75 tokens; plugins.sdxl.long_captions=true reads more" in caplog.text
    assert 0 < np.abs(one[0] - latents[2]).max() < 0.02 * np.abs(latents[2]).max()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--out", "a.png"], "nothing to draw: give --prompt TEXT or --prompts FILE"),
        (["--prompt", "a"], "nowhere to write to: give --out"),
        (["--prompts", "no.txt", "--out", "a.png"], "no.txt cannot be read (No such file or directory): give a text"),
        (["--prompt", "a", "--out", "a.jpg"], "pictures are written as .png"),
        (["--prompt", "a", "--out", "a.png", "--size", "big"], "must be WIDTHxHEIGHT in pixels such as 1152x896"),
        (["--prompt", "a", "--out", "a.png", "--size", "100x64"], "both sides must be multiples of 32"),
        (["--prompt", "a", "--out", "a.png", "--seed", "-1"], "seed must be from 0"),
        (["--prompt", "a", "--out", "a.png", "--guidance", "1000"], "plugins.sdxl.guidance is 1000"),
        (["--prompt", "a", "--out", "a.png", "--steps", "0"], "must be a whole number of at least 1"),
        (["--prompt", "a", "--out", "a.png", "--latents", "no.npy"], "--latents no.npy cannot be read"),
        (["--prompt", "a", "--out", "a.png", "--weights", "no.safetensors"], "weights no.safetensors do not exist"),
        (["--prompt", "a", "--out", "a.png", "--prest", "tiny"], "did you mean 'preset'"),
    ],
)
def test_wrong_use_is_one_line(
    argv: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sample(*argv) == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("mindloom: error: ")
    assert words in last
    assert not (tmp_path / "a.png").exists()


def test_the_picture_says_how_it_was_made_as_other_tools_do() -> None:
    assert parameters(FACTS) == (
        "a disc\nNegative prompt: a star\nSteps: 25, Sampler: Euler, Schedule type: Karras, CFG scale: 5.0, Seed: 7, "
        "Size: 96x64, Model hash: 0123456789, Model: mine, Version: mindloom 1.2.3"
    )
    assert parameters({**FACTS, "negative": None, "weights_sha256": "", "scheduler": "euler"}) == (
        "a disc\nSteps: 25, Sampler: Euler, CFG scale: 5.0, Seed: 7, Size: 96x64, Model: mine, Version: mindloom 1.2.3"
    )


def merged(path: Path) -> dict[str, Any]:
    return {key: value for _, section in known_settings(path) for key, value in section.items()}


def test_weights_bring_their_settings_along(tmp_path: Path) -> None:
    assert merged(WEIGHTS) == {"preset": "tiny", "objective": "epsilon", "zero_terminal_snr": False}
    folder = tmp_path / "run" / "checkpoints" / "step-00000003"
    folder.mkdir(parents=True)
    for name in ("model", "ema"):
        (folder / f"{name}.safetensors").write_bytes(WEIGHTS.read_bytes())
    (folder / "state.json").write_text("{}")
    config = "plugins: {sdxl: {preset: tiny, objective: v, caption_dropout: 0.1, vae: other.safetensors}}"
    for place in (folder, tmp_path / "run"):
        (place / "config.yaml").write_text(config)
    (tmp_path / "run" / "run.log").touch()
    for path in (tmp_path / "run", folder, folder / "ema.safetensors"):
        found = merged(path)
        assert (found["objective"], found["caption_dropout"], "vae" in found) == ("v", 0.1, False)


def test_initial_latents_are_for_all_pictures_or_for_each(tmp_path: Path) -> None:
    file = tmp_path / "latents.npy"
    for shape, n in (((4, 8, 12), 3), ((1, 4, 8, 12), 3), ((3, 4, 8, 12), 3)):
        np.save(file, np.random.default_rng(0).standard_normal(shape))
        found = initial_latents(file, TINY, n)
        assert (found.shape, found.dtype) == ((n, 4, 8, 12), np.float32)
    assert fitting_size((128, 128), TINY, found, asked=False) == (64, 96)
    with pytest.raises(UserError, match="--size is 128x128, but the latents are for 96x64"):
        fitting_size((128, 128), TINY, found, asked=True)
    for wrong in (np.zeros((2, 4, 8, 12)), np.zeros((3, 3, 8, 12)), np.zeros((3, 4, 8, 12), int), np.zeros(4)):
        np.save(file, wrong)
        with pytest.raises(UserError, match="give floats of shape"):
            initial_latents(file, TINY, 3)
    np.save(file, np.array([{}]))
    with pytest.raises(UserError, match="cannot be read"):
        initial_latents(file, TINY, 3)


def test_sizes_are_those_that_the_networks_can_make() -> None:
    assert fitting_size((1024, 1152), BASE, None, asked=True) == (1024, 1152)
    with pytest.raises(UserError, match="1000x1024 cannot be drawn: both sides must be multiples of 32"):
        fitting_size((1024, 1000), BASE, None, asked=True)
