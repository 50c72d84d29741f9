"""The loss is the published objective, it falls, only the UNet learns; and the same model draws pictures."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom import UserError
from mindloom.images import PillowPicture
from mindloom_sdxl import Sdxl
from mindloom_sdxl.presets import PRESETS, TINY
from mindloom_sdxl.schedule import alphas_cumprod
from mindloom_sdxl.task import SdxlTask
from mindloom_sdxl.tokens import TINY_ASSETS
from mindspore import nn
from mindspore.nn.utils import no_init_parameters
from PIL import Image

# The same structure as tiny, but shallow: it compiles in seconds.
MICRO = replace(
    TINY,
    name="micro",
    unet=replace(TINY.unet, channels=16, mult=(1, 2), res_blocks=1, depths=(0, 1)),
    resolution=64,
)
BATCH = 4


def draw_for(position: int) -> Any:
    return lambda purpose: np.random.default_rng([position, zlib.crc32(purpose.encode())])


def batch(task: SdxlTask) -> list[np.ndarray]:
    rows = []
    for position in range(BATCH):
        pixels = draw_for(position)("picture").integers(0, 256, (80, 96, 3), np.uint8)
        picture = PillowPicture(Image.fromarray(pixels))
        sample = {"image": picture, "caption": f"a {'very ' * position}red circle", "id": str(position)}
        rows.append(task.transform(sample, draw_for(position)))
    return [np.stack([row[name] for row in rows]) for name in task.columns]


class Step(nn.Cell):
    def __init__(self, task: SdxlTask) -> None:
        super().__init__(auto_prefix=False)
        self.optimizer = nn.Adam(task.loss.trainable_params(), 2e-3)
        self.gradients = ms.value_and_grad(task.loss, None, weights=self.optimizer.parameters)

    def construct(self, *columns: ms.Tensor) -> ms.Tensor:
        loss, gradients = self.gradients(*columns)
        self.optimizer(gradients)
        return loss


@pytest.fixture(scope="module", autouse=True)
def micro() -> Iterator[None]:
    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "micro", MICRO)
        yield


def settings(**changes: Any) -> Sdxl.Config:
    small: dict[str, Any] = {"preset": "micro", "tokenizer": str(TINY_ASSETS), "sample_steps": 3, "sample_batch": 2}
    return Sdxl.Config(**(small | changes))


@pytest.fixture(scope="module")
def task() -> SdxlTask:
    ms.set_seed(0)
    return SdxlTask(settings())


@pytest.fixture(scope="module")
def losses(task: SdxlTask) -> list[float]:
    """Of 20 steps on one batch; whoever asks for them gets a trained model."""
    step, columns = Step(task), [ms.Tensor(column) for column in batch(task)]
    return [float(step(*columns).asnumpy()) for _ in range(20)]


def test_first_loss_is_the_variance_of_the_noise(task: SdxlTask, losses: list[float]) -> None:
    noise = batch(task)[task.columns.index("noise")]
    assert losses[0] == pytest.approx(float((noise**2).mean()), rel=1e-5)


def test_loss_falls(losses: list[float]) -> None:
    assert losses[-1] < 0.8 * losses[0]


def test_only_the_unet_is_trained_and_names_are_those_on_disk(task: SdxlTask) -> None:
    names = {parameter.name for parameter in task.loss.get_parameters()}
    assert names == {parameter.name for parameter in task.model.get_parameters()}
    assert {name.split(".")[0] for name in names} == {"model", "conditioner", "first_stage_model"}
    assert all(parameter.name.startswith("model.diffusion_model.") for parameter in task.loss.trainable_params())


def test_loss_is_the_mean_squared_error_of_the_noise(task: SdxlTask, losses: list[float]) -> None:
    """Ho et al. 2020, equations 4 and 14, in NumPy around the model's parts."""
    columns = dict(zip(task.columns, batch(task), strict=True))
    pixels = columns["pixels"].astype(np.float32) / 127.5 - 1
    mean, logvar = (part.asnumpy() for part in task.model.first_stage_model(ms.Tensor(pixels)))
    latents = 0.13025 * (mean + np.exp(logvar / 2) * columns["vae_noise"])
    kept = alphas_cumprod()[columns["timesteps"]].reshape(-1, 1, 1, 1)
    noisy = np.sqrt(kept) * latents + np.sqrt(1 - kept) * columns["noise"]
    context, vector = task.model.conditioner(
        *(ms.Tensor(columns[name]) for name in ("ids_1", "ids_2", "eot_index", "time_ids"))
    )
    predicted = task.model.model.diffusion_model(
        ms.Tensor(noisy.astype(np.float32)), ms.Tensor(columns["timesteps"]), context, vector
    )
    expected = float(((predicted.asnumpy() - columns["noise"]) ** 2).mean())
    loss = task.loss(*(ms.Tensor(column) for column in batch(task)))
    assert loss.dtype == ms.float32
    assert loss.shape == ()
    assert float(loss.asnumpy()) == pytest.approx(expected, rel=1e-4)
    assert expected < losses[-1] * 1.1


def test_previews_depend_on_caption_place_and_seed_only(task: SdxlTask, losses: list[float]) -> None:
    three = task.preview(["a red circle", "a teal star", "a red circle"], seed=1)
    assert [(picture.shape, picture.dtype.name) for picture in three] == [((64, 64, 3), "uint8")] * 3
    again = task.preview(["a red circle"], seed=1)
    assert (three[0] == again[0]).all()
    assert (three[0] != three[2]).any()
    assert (three[0] != task.preview(["a red circle"], seed=2)[0]).any()


def test_guidance_extrapolates_from_the_unconditional_prediction(task: SdxlTask, losses: list[float]) -> None:
    painter, prompts = task.previewer.painter, ["a red circle", "a teal star"]
    context, vector = painter.encode(prompts, np.array([64, 64, 0, 0, 64, 64]))
    empty_context, empty_vector = np.zeros_like(context), vector.copy()
    empty_vector[:, : MICRO.clip_g.width] = 0
    latents, timesteps = draw_for(0)("x").standard_normal((2, 4, 8, 8), np.float32), np.full(2, 500, np.int32)

    def predict(context: np.ndarray, vector: np.ndarray) -> np.ndarray:
        cells = (ms.Tensor(latents), ms.Tensor(timesteps), ms.Tensor(context), ms.Tensor(vector))
        return painter.guided.predict(*cells).asnumpy()

    told, empty = predict(context, vector), predict(empty_context, empty_vector)
    guided = painter.guided(
        ms.Tensor(latents),
        ms.Tensor(np.full(4, 500, np.int32)),
        ms.Tensor(np.concatenate((empty_context, context))),
        ms.Tensor(np.concatenate((empty_vector, vector))),
    ).asnumpy()
    np.testing.assert_allclose(guided, empty + 5 * (told - empty), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "zeros"),
    [({}, True), ({"caption_dropout": 0.1}, False), ({"unconditional": "zeros", "caption_dropout": 0.1}, True)],
)
def test_unconditional_half_is_what_training_taught(changes: dict[str, Any], zeros: bool) -> None:
    assert SdxlTask(settings(**changes)).previewer.zero_empty is zeros


def test_weights_written_by_one_task_are_read_by_another_that_drew_none(task: SdxlTask, tmp_path: Path) -> None:
    task.save_weights(tmp_path / "weights.safetensors")
    with no_init_parameters():
        other = SdxlTask(settings())
    other.load_weights(tmp_path / "weights.safetensors")
    for ours, theirs in zip(task.model.get_parameters(), other.model.get_parameters(), strict=True):
        np.testing.assert_array_equal(ours.asnumpy(), theirs.asnumpy())


def test_plugin_warns_when_it_starts_from_random_weights(caplog: pytest.LogCaptureFixture) -> None:
    run: Any = SimpleNamespace(cfg=SimpleNamespace(weight="", resume=""), log=logging.getLogger("test"), dry=False)
    run.cache_graphs = lambda cell, together: None
    assert isinstance(Sdxl(settings()).make_task(run), SdxlTask)
    assert "random" in caplog.text


def test_vocabulary_larger_than_the_models_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "micro", replace(MICRO, clip_l=replace(MICRO.clip_l, vocabulary=1000)))
    with pytest.raises(UserError, match="1024 tokens"):
        SdxlTask(settings())


def test_the_example_is_shaped_like_a_row_and_needs_no_vocabulary(task: SdxlTask) -> None:
    row = task.transform({"image": PillowPicture(Image.new("RGB", (70, 64))), "caption": "a red circle"}, draw_for(0))
    example = SdxlTask(settings(tokenizer="/nowhere"), dry=True).example()
    assert list(example) == list(row) == list(task.columns)
    assert [(x.shape, x.dtype) for x in example.values()] == [(x.shape, x.dtype) for x in row.values()]
