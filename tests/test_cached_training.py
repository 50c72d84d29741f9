"""Training from kept features equals training without them, and does without the encoders."""

from __future__ import annotations

import io
import json
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.images import PillowPicture
from mindloom.plan import Plan
from mindloom.testing import Recorder
from mindloom_ddp.testing import msrun
from mindloom_sdxl.frozen import SdxlFrozen
from mindloom_sdxl.testing import micro
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import cached_training as runs

pytestmark = [pytest.mark.together, pytest.mark.timeout(200)]
ROUNDING = 1e-6


class Watch(Plugin):
    """Counts what the frozen parts do, and looks whether they are still in memory when training starts."""

    calls: ClassVar[Counter[str]] = Counter()
    alive: ClassVar[list[bool]] = []
    references: ClassVar[list[Callable[[], Any]]] = []

    @hookimpl
    def on_train_start(self, run: Any) -> None:
        """Look."""
        self.alive[:] = [reference() is not None for reference in self.references]


@pytest.fixture(scope="module", autouse=True)
def _micro() -> Iterator[None]:
    with micro():
        yield


@pytest.fixture(scope="module")
def watch() -> Iterator[type[Watch]]:
    """Watch every frozen part."""
    with pytest.MonkeyPatch.context() as patch:
        load, encode, drop = SdxlFrozen.load, SdxlFrozen.encode, SdxlFrozen.drop

        def loading(self: SdxlFrozen, path: Path) -> None:
            Watch.calls["load"] += 1
            load(self, path)

        def encoding(self: SdxlFrozen, part: str, rows: Any) -> Any:
            Watch.calls[part] += len(rows)
            return encode(self, part, rows)

        def dropping(self: SdxlFrozen, advice: str) -> None:
            model = self.task.model
            parts = [model.conditioner, model.first_stage_model]
            params = [next(iter(part.get_parameters())) for part in parts]
            Watch.references[:] = [weakref.ref(kept) for kept in [*parts, *params]]
            del parts, params
            drop(self, advice)

        patch.setattr(SdxlFrozen, "load", loading)
        patch.setattr(SdxlFrozen, "encode", encoding)
        patch.setattr(SdxlFrozen, "drop", dropping)
        yield Watch


@pytest.fixture(scope="module")
def weight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    runs.write_weights(path)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, weight: Path) -> Recorder:
    """Without a cache."""
    return runs.train(tmp_path_factory.mktemp("plain"), weight, {})


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, weight: Path, watch: type[Watch]) -> dict[str, Any]:
    """With a cache that was empty."""
    folder = tmp_path_factory.mktemp("cached")
    Watch.calls.clear()
    settings = {"folder": str(folder / "features")}
    recorder = runs.train(folder / "first", weight, {"cache": settings}, {"watch": watch})
    return {"settings": settings, "recorder": recorder, "calls": Counter(Watch.calls), "alive": list(Watch.alive)}


def test_losses_and_weights_equal_those_without_the_cache(plain: Recorder, kept: dict[str, Any]) -> None:
    recorder = kept["recorder"]
    assert recorder.losses == pytest.approx(plain.losses, rel=ROUNDING)
    for name, array in recorder.weights.items():
        assert np.allclose(array, plain.weights[name], rtol=1e-4, atol=1e-6), name
    # Batches of four: pictures as they are and mirrored, captions, and the empty one.
    assert kept["calls"] == {"load": 1, "picture": 16, "caption": 8 + 4}


def test_encoders_leave_model_checkpoint_and_memory(plain: Recorder, kept: dict[str, Any]) -> None:
    assert set(kept["recorder"].weights) == {name for name in plain.weights if name.startswith("model.")}
    assert kept["alive"] == [False] * 4


def test_second_run_computes_nothing_loads_no_encoder_and_resumes_bit_for_bit(
    tmp_path: Path, weight: Path, kept: dict[str, Any], watch: type[Watch]
) -> None:
    Watch.calls.clear()
    plugins = {"cache": kept["settings"]}
    first = runs.train(tmp_path, weight, plugins, {"watch": watch}, stop_at=2)
    second = runs.train(tmp_path, weight, plugins, {"watch": watch}, resume="latest")
    assert not Watch.calls
    assert Watch.alive == [False] * 4
    assert [*first.losses, *second.losses] == kept["recorder"].losses
    assert all((array == second.weights[name]).all() for name, array in kept["recorder"].weights.items())


class Ask(Plugin):
    """Asks the task for what needs encoders."""

    got: ClassVar[dict[str, Any]] = {}

    @hookimpl
    def on_train_start(self, run: Any) -> None:
        """Ask."""
        sample = dict(runs.Dots()[3])
        sample["image"] = PillowPicture(Image.open(io.BytesIO(sample["image"])))
        self.got["pictures"] = run.task.preview(["a red circle"], 0)
        own = {"id": "#3", "kept": run.dataset.source[3]["kept"]}
        self.got["kept"] = run.task.transform(own, Plan(8, 0).draw(1))
        self.got["now"] = run.task.transform(sample, Plan(8, 0).draw(1))


def test_encoders_that_stay_serve_other_samples_and_pictures(
    tmp_path: Path, weight: Path, plain: Recorder, kept: dict[str, Any]
) -> None:
    plugins = {"cache": {**kept["settings"], "keep_encoders": True}, "sdxl": {"sample_steps": 1}}
    recorder = runs.train(tmp_path, weight, plugins, {"ask": Ask})
    assert recorder.losses == kept["recorder"].losses
    assert recorder.weights.keys() == plain.weights.keys()
    assert Ask.got["pictures"][0].shape == (64, 64, 3)
    assert Ask.got["now"].keys() == Ask.got["kept"].keys()
    for name, array in Ask.got["kept"].items():
        assert np.allclose(Ask.got["now"][name], array, atol=1e-5), name


def test_dropped_encoders_are_missed_in_one_line(tmp_path: Path, weight: Path, kept: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"the encoders were dropped: set plugins\.cache\.keep_encoders=true"):
        runs.train(tmp_path, weight, {"cache": kept["settings"]}, {"ask": Ask})
    assert Ask.got["pictures"] is None


def test_broken_picture_is_replaced_as_without_the_cache(tmp_path: Path, weight: Path, kept: dict[str, Any]) -> None:
    broken = {"dots": {"broken": 2}}
    data = {"path": str(weight.parent), "max_broken": 0.2}
    losses = [
        runs.train(tmp_path / str(len(more)), weight, {**broken, **more}, data=data).losses
        for more in ({}, {"cache": kept["settings"]})
    ]
    assert losses[1] == pytest.approx(losses[0], rel=ROUNDING)
    assert losses[1] != kept["recorder"].losses


def test_buckets_and_half_precision_on_disk(tmp_path: Path, weight: Path) -> None:
    data = {"path": str(weight.parent), "buckets": 2, "bucket_step": 16}
    cache = {"folder": str(tmp_path / "features"), "dtype": "float16"}
    losses = [runs.train(tmp_path / str(len(more)), weight, more, data=data).losses for more in ({}, {"cache": cache})]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[1] != losses[0]


def test_what_cannot_be_kept_is_refused(tmp_path: Path, weight: Path) -> None:
    with pytest.raises(UserError, match=r"set plugins\.sdxl\.random_crop=false"):
        runs.train(tmp_path, weight, {"cache": {}, "sdxl": {"random_crop": True}})
    with pytest.raises(UserError, match="no weights were given: set --weight"):
        runs.train(tmp_path, None, {"cache": {}})
    with pytest.raises(UserError, match="do not exist"):
        runs.train(tmp_path, tmp_path / "none", {"cache": {"folder": str(tmp_path / "f")}})


@pytest.mark.slow
def test_two_processes_fill_one_cache_and_train_as_one(tmp_path: Path, weight: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(weight.read_bytes())
    with msrun(tmp_path, str(Path(runs.__file__)), str(tmp_path)) as launched:
        code = launched.wait(180)
    assert code == 0, launched.output(0)[-4000:] + launched.output(1)[-2000:]
    files = [path.name for path in (tmp_path / "cache").glob("*/*.safetensors")]
    assert {name[:4] for name in files} == {"0000", "0001"}, "both wrote"
    by_rank = [json.loads((tmp_path / f"losses.{rank}.json").read_text()) for rank in range(2)]
    assert by_rank[0] == by_rank[1]
    alone = runs.train(
        tmp_path / "alone", weight, {"fp16": {"mode": "amp"}}, gradient_accumulation_steps=2, log_interval=2
    )
    assert by_rank[0] == pytest.approx(alone.losses, rel=2e-3)


def test_a_check_compiles_the_step_of_kept_features(plain: Recorder) -> None:
    report = runs.check({"cache": {}})
    assert report.parameters == sum(a.size for name, a in plain.weights.items() if name.startswith("model."))
