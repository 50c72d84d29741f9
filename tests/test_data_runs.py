"""Real runs over real pictures: buckets, several places, sinks, and resumes in the middle of it all."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.formats import Format, SampleError
from mindloom.testing import Fitted, Pictures, Shelf, Watch, fit
from mindloom_csv import Csv
from mindloom_sink import Sink
from PIL import Image

pytestmark = pytest.mark.together

SIZES = [(40, 40)] * 5 + [(80, 40)] * 9 + [(30, 90)] * 3 + [(64, 48)] * 7


def draw(folder: Path, sizes: list[tuple[int, int]] = SIZES, first: int = 0) -> Path:
    """Pictures of noise with captions that tell them apart."""
    folder.mkdir(parents=True)
    lines = ["dir,text"]
    for number, (width, height) in enumerate(sizes, start=first):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(f"{number}.png,picture {number}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Fitted]:
    draw(tmp_path / "data")

    def run(name: str = "run", *extra: type[Plugin], steps: int = 6, data: Any = None, **settings: Any) -> Fitted:
        place = {"path": "" if data and "mix" in data else str(tmp_path / "data")}
        return fit(
            tmp_path,
            [Csv, Watch, Shelf, *extra],
            task=Pictures,
            steps=steps,
            save_path=str(tmp_path / name),
            data={**place, "bucket_step": 8, **(data or {})},
            **settings,
        )

    return run


def taken(fitted: Fitted) -> list[list[int]]:
    watch: Any = fitted.plugins["watch"]
    return watch.taken


def shapes(fitted: Fitted) -> list[tuple[int, ...]]:
    watch: Any = fitted.plugins["watch"]
    return watch.shapes


def test_buckets_train_one_shape_a_step_and_every_picture_in_turn(
    train: Callable[..., Fitted], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    fitted = train(steps=24, data={"buckets": 3})
    found = {shape[-2:] for shape in shapes(fitted)}
    assert len(found) == 3
    assert all(abs(height * width / 32**2 - 1) < 0.3 for height, width in found)
    counts = Counter(number for batch in taken(fitted) for number in batch)
    assert len(counts) == len(SIZES)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert "3 shapes for 24 pictures" in caplog.text
    assert caplog.text.count("compiling for pictures of") == 3


def test_a_bucketed_run_resumes_bit_for_bit(train: Callable[..., Fitted]) -> None:
    whole = train("whole", data={"buckets": 3})
    train("parts", data={"buckets": 3}, stop_at=3)
    parts = train("parts", data={"buckets": 3}, resume="latest")
    assert taken(parts) == taken(whole)[3:]
    assert parts.losses == whole.losses[3:]
    np.testing.assert_array_equal(parts.weights["weight"], whole.weights["weight"])


@pytest.mark.parametrize("run", [1, 2])
def test_a_sink_over_buckets_trains_the_same(train: Callable[..., Fitted], run: int) -> None:
    settings = {"data": {"buckets": 3, "bucket_run": run}, "steps": 8, "log_interval": 4}
    plain = train("plain", **settings)
    sunk = train("sunk", Sink, plugins={"sink": {"size": 4}}, **settings)
    assert taken(sunk) == taken(plain)
    assert sunk.losses == plain.losses
    np.testing.assert_array_equal(sunk.weights["weight"], plain.weights["weight"])


def test_sizes_are_measured_once_and_again_when_a_picture_changes(
    train: Callable[..., Fitted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mindloom.data import sizes

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    calls: list[int] = []
    inner = sizes._measure

    def spy(source: Any, indexes: np.ndarray, *rest: Any) -> np.ndarray:
        calls.extend([1] if len(indexes) else [])
        return inner(source, indexes, *rest)

    monkeypatch.setattr(sizes, "_measure", spy)
    for name in ("one", "two"):
        train(name, steps=1, data={"buckets": 2})
    assert len(calls) == 1
    Image.new("RGB", (200, 20)).save(tmp_path / "data" / "3.png")
    train("three", steps=1, data={"buckets": 2})
    assert len(calls) == 2
    for file in (tmp_path / "cache").rglob("*.npz"):
        file.write_bytes(b"damaged")
    train("four", steps=1, data={"buckets": 2})
    assert len(calls) == 3


def test_several_places_give_their_shares(train: Callable[..., Fitted], tmp_path: Path) -> None:
    other = draw(tmp_path / "other", [(32, 32)] * 4, first=100)
    mix = [{"path": str(tmp_path / "data")}, {"path": str(other), "repeats": 3}]
    fitted = train(steps=36, per_batch_size=1, data={"mix": mix})
    counts = Counter(number for batch in taken(fitted) for number in batch)
    assert sorted(counts.values()) == [1] * 24 + [3] * 4
    assert fitted.plugins["watch"]


def test_several_places_and_buckets_go_together(train: Callable[..., Fitted], tmp_path: Path) -> None:
    other = draw(tmp_path / "other", [(32, 32)] * 4, first=100)
    mix = [str(tmp_path / "data"), {"path": str(other), "repeats": 3}]
    fitted = train(steps=36, per_batch_size=1, data={"mix": mix, "buckets": 2})
    counts = Counter(number for batch in taken(fitted) for number in batch)
    assert sorted(counts.values()) == [1] * 24 + [3] * 4


def test_broken_pictures_are_listed_in_the_run_folder(train: Callable[..., Fitted], tmp_path: Path) -> None:
    (tmp_path / "data" / "3.png").write_bytes(b"")
    (tmp_path / "data" / "7.png").unlink()
    fitted = train(steps=24, per_batch_size=1, data={"buckets": 2, "max_broken": 0.1})
    listed = (fitted.path / "quarantine.jsonl").read_text()
    assert listed.count("\n") == 2
    assert '"id": "3.png"' in listed
    assert '"id": "7.png"' in listed
    assert len({number for batch in taken(fitted) for number in batch}) == 22


class Flow(Plugin):
    """The same pictures as a stream."""

    @hookimpl
    def add_formats(self) -> dict[str, Any]:
        """Offer them, with a way to write that nobody calls."""
        return {"flow": Format(lambda path, world: self, lambda samples, folder: 0)}

    def __len__(self) -> int:
        return 12

    def read(self, epoch: int, start: int, stop: int) -> Any:
        """In another order every epoch."""
        for place in range(start, stop):
            number = (place * 5 + epoch) % 12
            file = io.BytesIO()
            Image.new("RGB", (40, 40), (number * 20, 0, 0)).save(file, "PNG")
            if number == 7:
                yield SampleError("torn", "p7")
            else:
                yield {"image": file.getvalue(), "caption": f"picture {number}", "id": f"p{number}"}


def test_a_stream_trains_and_resumes_bit_for_bit(train: Callable[..., Fitted]) -> None:
    settings = {"data": {"format": "flow", "max_broken": 0.1}, "steps": 9}
    whole = train("whole", Flow, **settings)
    train("parts", Flow, stop_at=4, **settings)
    parts = train("parts", Flow, resume="latest", **settings)
    assert taken(parts) == taken(whole)[4:]
    assert parts.losses == whole.losses[4:]
    assert '"id": "p7"' in (whole.path / "quarantine.jsonl").read_text()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"format": "flow", "buckets": 2}, "buckets need samples in any order"),
        ({"format": "flow", "mix": ["{data}"]}, "is a stream, which data.mix cannot join"),
        ({"format": "csv", "mix": ["{data}"], "path": "x"}, "data.path and data.mix both say where the data is"),
        ({"format": "csv", "mix": ["nowhere"]}, "there is no data at nowhere: check data.mix"),
        ({"format": "csv", "buckets": 2, "bucket_step": 64}, "data.bucket_step is 64, larger than the pictures"),
        ({"format": "csv", "buckets": 65}, "data.buckets must be from 0 to 64"),
        ({"format": "csv", "decoder": "magic"}, "data.decoder must be one of pillow, vips"),
    ],
)
def test_what_cannot_work_is_refused(
    train: Callable[..., Fitted], tmp_path: Path, data: dict[str, Any], message: str
) -> None:
    if data.get("mix") == ["{data}"]:
        data = {**data, "mix": [str(tmp_path / "data")]}
    with pytest.raises(UserError, match=message):
        train("run", Flow, data=data)


def test_a_task_without_pictures_knows_no_buckets(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"this task knows no buckets: set data\.buckets=0"):
        fit(tmp_path, data={"buckets": 2})
