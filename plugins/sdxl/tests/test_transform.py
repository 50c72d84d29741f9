"""A sample becomes its row of the batch, and everything random has a stream of its own."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from mindloom.images import PillowPicture
from mindloom_sdxl.levels import Sigmas
from mindloom_sdxl.tokens import load_tokenizer
from mindloom_sdxl.transform import COLUMNS, TOLD, Transform, named
from PIL import Image

TOKENIZER = load_tokenizer("", "tiny")


def draw_for(position: int) -> Any:
    def draw(purpose: str) -> np.random.Generator:
        return np.random.default_rng([position, zlib.crc32(purpose.encode())])

    return draw


def sample(width: int, height: int, caption: str = "a red circle") -> dict[str, Any]:
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns * 255 // max(1, width - 1), rows * 255 // max(1, height - 1), rows * 0], -1)
    return {"image": PillowPicture(Image.fromarray(pixels.astype(np.uint8))), "caption": caption, "id": "0"}


def test_every_column_has_its_shape_and_dtype() -> None:
    row = Transform(64, TOKENIZER)(sample(200, 100), draw_for(0))
    assert tuple(row) == COLUMNS
    assert {name: (value.dtype.name, value.shape) for name, value in row.items()} == {
        "pixels": ("uint8", (3, 64, 64)),
        "time_ids": ("float32", (6,)),
        "ids_1": ("int32", (77,)),
        "ids_2": ("int32", (77,)),
        "eot_index": ("int32", ()),
        "timesteps": ("int32", ()),
        "noise": ("float32", (4, 8, 8)),
        "vae_noise": ("float32", (4, 8, 8)),
    }


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((200, 100), [100, 200, 0, 32, 64, 64]),
        ((100, 200), [200, 100, 32, 0, 64, 64]),
        ((64, 64), [64, 64, 0, 0, 64, 64]),
        ((20, 10), [10, 20, 0, 32, 64, 64]),
        ((641, 640), [640, 641, 0, 0, 64, 64]),
    ],
)
def test_time_ids_are_height_first_and_crops_count_in_the_resized_picture(
    size: tuple[int, int], expected: list[int]
) -> None:
    assert Transform(64, TOKENIZER)(sample(*size), draw_for(0))["time_ids"].tolist() == expected


def test_centre_crop_shows_the_middle_and_channels_come_first() -> None:
    pixels = Transform(64, TOKENIZER)(sample(256, 64), draw_for(0))["pixels"]
    assert pixels[0, 0, 0] == 96 * 255 // 255
    assert pixels[0, :, 0].std() == 0
    assert (np.diff(pixels[1, :, 0].astype(int)) > 0).all()


def test_shrinking_averages_instead_of_skipping() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    picture = PillowPicture(Image.fromarray(noise))
    row = Transform(64, TOKENIZER)({"image": picture, "caption": "", "id": "0"}, draw_for(0))
    assert row["pixels"].std() < 20


def test_random_crop_reports_where_it_cropped() -> None:
    transform = Transform(64, TOKENIZER, random_crop=True)
    lefts = set()
    for position in range(20):
        row = transform(sample(256, 64), draw_for(position))
        left = int(row["time_ids"][3])
        assert row["pixels"][0, 0, 0] == left
        lefts.add(left)
    assert len(lefts) > 10


def test_flipped_picture_reports_the_crop_of_the_flipped_picture() -> None:
    plain = Transform(64, TOKENIZER, random_crop=True)(sample(256, 64), draw_for(3))
    flipped = Transform(64, TOKENIZER, random_crop=True, flip=1.0)(sample(256, 64), draw_for(3))
    assert (flipped["pixels"] == plain["pixels"][:, :, ::-1]).all()
    assert flipped["time_ids"][3] == 256 - 64 - plain["time_ids"][3]


def test_caption_dropout_encodes_the_empty_caption_at_its_rate() -> None:
    transform = Transform(64, TOKENIZER, caption_dropout=0.25)
    dropped = [int(transform(sample(64, 64), draw_for(position))["eot_index"]) == 1 for position in range(400)]
    assert 70 <= sum(dropped) <= 130


def test_zeroed_dropout_keeps_the_tokens_and_says_which_samples_are_told() -> None:
    encoded = Transform(64, TOKENIZER, 0.5)
    zeroed = Transform(64, TOKENIZER, 0.5, zeroed=True)
    for position in range(20):
        row, other = zeroed(sample(64, 64), draw_for(position)), encoded(sample(64, 64), draw_for(position))
        assert tuple(row) == (*COLUMNS, TOLD)
        assert row[TOLD].dtype == np.float32
        assert row["eot_index"] == 4
        assert bool(row[TOLD]) == (other["eot_index"] == 4)


def test_edm_draws_noise_levels_in_the_place_of_timesteps() -> None:
    row = Transform(64, TOKENIZER, levels=Sigmas())(sample(64, 64), draw_for(0))
    assert tuple(row) == named(COLUMNS, Sigmas()) == tuple("sigmas" if n == "timesteps" else n for n in COLUMNS)
    assert row["sigmas"].dtype == np.float32
    assert row["sigmas"].shape == ()


def test_timesteps_are_uniform_over_the_whole_schedule() -> None:
    transform = Transform(64, TOKENIZER)
    drawn = [int(transform(sample(64, 64), draw_for(position))["timesteps"]) for position in range(600)]
    assert min(drawn) < 20
    assert max(drawn) > 980
    assert abs(np.mean(drawn) - 499.5) < 40


def test_offset_noise_shifts_each_channel_by_one_number() -> None:
    plain = Transform(64, TOKENIZER)(sample(64, 64), draw_for(1))["noise"]
    shift = Transform(64, TOKENIZER, offset_noise=0.5)(sample(64, 64), draw_for(1))["noise"] - plain
    assert shift.std((1, 2)).max() < 1e-6
    assert np.unique(shift[:, 0, 0]).size == 4


def test_mean_of_the_posterior_is_a_zero_noise_column() -> None:
    assert not Transform(64, TOKENIZER, vae_sample=False)(sample(64, 64), draw_for(1))["vae_noise"].any()


def test_options_leave_the_other_streams_alone() -> None:
    plain = Transform(64, TOKENIZER)(sample(90, 64), draw_for(5))
    busy = Transform(64, TOKENIZER, 0.5, True, 0.5, 0.1)(sample(90, 64), draw_for(5))
    assert plain["timesteps"] == busy["timesteps"]
    assert (plain["vae_noise"] == busy["vae_noise"]).all()


def test_same_draws_give_the_same_row() -> None:
    transform = Transform(64, TOKENIZER, 0.5, True, 0.5, 0.1)
    first, second = (transform(sample(90, 70), draw_for(9)) for _ in range(2))
    for name in COLUMNS:
        assert (first[name] == second[name]).all()


def test_sample_with_a_frame_of_its_own_fills_that() -> None:
    row = Transform(64, TOKENIZER)({**sample(200, 100), "frame": (48, 80)}, draw_for(0))
    assert row["pixels"].shape == (3, 48, 80)
    assert row["noise"].shape == row["vae_noise"].shape == (4, 6, 10)
    assert row["time_ids"].tolist() == [100, 200, 0, 8, 48, 80]


def test_empty_picture_is_a_broken_sample() -> None:
    with pytest.raises(ValueError, match="0 x 64 pixels"):
        Transform(64, TOKENIZER)(sample(0, 64), draw_for(0))
