"""What never trains: which features a sample may need, and a task that goes on with them alone."""

from __future__ import annotations

import inspect
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom import UserError
from mindloom.images import PillowPicture, decoder
from mindloom.plan import Plan
from mindloom_sdxl import Sdxl
from mindloom_sdxl.frozen import KEPT_COLUMNS, SdxlFrozen
from mindloom_sdxl.presets import PRESETS, TINY
from mindloom_sdxl.task import SdxlTask
from mindloom_sdxl.tokens import TINY_ASSETS
from PIL import Image

DECODE = decoder("pillow", 10**6)


@pytest.fixture(autouse=True)
def _micro(monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(TINY.unet, channels=16, mult=(1,), res_blocks=0, depths=(1,), middle_depth=0)
    micro = replace(TINY, name="micro", unet=small, vae=replace(TINY.vae, mult=(1, 1, 1, 1), res_blocks=0))
    monkeypatch.setitem(PRESETS, "micro", micro)


def made(dry: bool = False, **settings: Any) -> tuple[SdxlTask, SdxlFrozen]:
    cfg = Sdxl.Config(preset="micro", resolution=64, tokenizer=str(TINY_ASSETS), **settings)
    task = SdxlTask(cfg, dry)
    return task, task.frozen()


def picture() -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (70, 99, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["picture", "caption"]),
        ({"flip": 0.5}, ["picture", "mirrored", "caption"]),
        ({"flip": 1.0, "caption_dropout": 0.1}, ["mirrored", "caption", "empty"]),
        ({"caption_dropout": 1.0}, ["picture", "empty"]),
        ({"caption_dropout": 1.0, "dropout_form": "zeros"}, ["picture", "caption"]),
    ],
)
def test_requests_are_what_the_draws_can_reach(settings: dict[str, float], names: list[str]) -> None:
    _, frozen = made(**settings)
    assert [request.name for request in frozen.requests(None)] == names
    assert [request.name for request in frozen.requests((48, 96))] == names


def test_variant_tells_shapes_apart_for_pictures_only() -> None:
    _, frozen = made()
    square, wide = frozen.requests(None), frozen.requests((48, 96))
    assert [request.variant for request in square] == ["64x64", ""]
    assert [request.variant for request in wide] == ["48x96", ""]
    assert frozen.row(wide[0], picture(), DECODE)["pixels"].shape == (3, 48, 96)
    with pytest.raises(ValueError, match="not a readable picture"):
        frozen.row(wide[0], b"text", DECODE)


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize("frame", [None, (48, 96)])
def test_same_draws_choose_the_same_with_kept_features(position: int, frame: tuple[int, int] | None) -> None:
    task, frozen = made(flip=0.5, caption_dropout=0.5, offset_noise=0.1)
    draw = Plan(8, 0).draw(position)
    sample: dict[str, Any] = {"id": "0", "caption": "a red circle"} | ({"frame": frame} if frame else {})
    plain = task.transform({**sample, "image": PillowPicture(Image.open(io.BytesIO(picture())))}, draw)
    requests = {request.name: request for request in frozen.requests(frame)}

    def kept(name: str) -> dict[str, np.ndarray]:
        """Rows in the place of features: they show which were asked for."""
        request = requests[name]
        row = frozen.row(request, {"image": picture(), "caption": "a red circle", "": ""}[request.field], DECODE)
        if request.part == "caption":
            return {"context": row["ids_1"], "pooled": row["eot_index"]}
        return {"mean": row["pixels"][:, ::8, ::8], "logvar": row["pixels"], "time_ids": row["time_ids"]}

    frozen.switch()
    row = task.transform({"id": "#0", "kept": kept}, draw)
    assert tuple(row) == KEPT_COLUMNS == task.columns
    assert (row["logvar"] == plain["pixels"]).all()
    assert (row["context"] == plain["ids_1"]).all()
    for name in ("time_ids", "timesteps", "noise", "vae_noise"):
        assert row[name].dtype == plain[name].dtype
        assert (row[name] == plain[name]).all(), name


def test_zeroed_dropout_zeroes_what_was_kept() -> None:
    task, frozen = made(caption_dropout=0.5, dropout_form="zeros", long_captions=True, caption_chunks=2)
    plain = [bool(task.transform(loaded(), Plan(8, 0).draw(position))["told"]) for position in range(8)]
    frozen.switch()
    row = frozen.row(frozen.requests(None)[0], picture(), DECODE)
    features = {
        "picture": {"mean": np.ones((4, 8, 8)), "logvar": np.ones((4, 8, 8)), "time_ids": row["time_ids"]},
        "caption": {"context": np.ones((154, 64), np.float32), "pooled": np.ones(32, np.float32)},
    }
    rows = [task.transform({"kept": features.__getitem__}, Plan(8, 0).draw(position)) for position in range(8)]
    assert [bool(row["context"].all()) for row in rows] == [bool(row["pooled"].all()) for row in rows] == plain
    assert 0 < sum(plain) < 8
    assert task.example()["context"].shape == (154, 64)


def loaded() -> dict[str, Any]:
    return {"id": "0", "caption": "a red circle", "image": PillowPicture(Image.open(io.BytesIO(picture())))}


def test_fingerprint_is_that_of_the_parameters_in_use() -> None:
    import mindspore as ms

    task, frozen = made()
    before = {part: frozen.fingerprint(part) for part in frozen.parts}
    for name, param in task.model.parameters_and_names():
        if name.startswith(("model.", "first_stage_model.decoder.")):
            param.set_data(param + 1)
    assert {part: frozen.fingerprint(part) for part in frozen.parts} == before
    bias = task.model.first_stage_model.quant_conv.bias
    bias.set_data(ms.Tensor(bias.asnumpy() + np.float32(1e-6)))
    assert frozen.fingerprint("picture") != before["picture"]
    assert frozen.fingerprint("caption") == before["caption"]


def test_encoders_are_loaded_alone_and_not_asked_for_once_dropped(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    full, _ = made()
    full.save_weights(path)
    wanted = {name: param.asnumpy().copy() for name, param in full.model.parameters_and_names()}
    task, frozen = made()
    unet = {name: param.asnumpy().copy() for name, param in task.model.model.parameters_and_names()}
    frozen.load(path)
    for name, param in task.model.parameters_and_names():
        own = unet.get(name.removeprefix("model."), wanted[name]) if name.startswith("model.") else wanted[name]
        assert (param.asnumpy() == own).all() or ".decoder." in name or "post_quant" in name, name
    frozen.switch()
    frozen.drop("keep them")
    task.load_weights(path)
    loaded = dict(task.model.parameters_and_names())
    assert loaded.keys() == {name for name in wanted if name.startswith("model.")}
    assert all((param.asnumpy() == wanted[name]).all() for name, param in loaded.items())
    assert task.preview(["a red circle"], 0) is None


@pytest.mark.parametrize("dry", [False, True])
def test_example_has_the_columns_of_the_kept_loss(dry: bool) -> None:
    task, frozen = made(dry)
    frozen.switch()
    frozen.drop("keep them")
    row = task.example()
    assert tuple(row) == task.columns == tuple(inspect.signature(type(task.loss).construct).parameters)[1:]
    assert row["context"].shape == (77, 64)
    assert row["mean"].shape == row["noise"].shape == (4, 8, 8)


def test_random_crop_is_refused() -> None:
    with pytest.raises(UserError, match=r"set plugins\.sdxl\.random_crop=false"):
        made(random_crop=True)


def test_resolution_is_what_buckets_keep() -> None:
    assert made()[0].resolution == 64
