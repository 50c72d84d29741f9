"""Weights files: official names in, official names out, and one line when something does not fit."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindloom import UserError
from mindloom_sdxl.cells.model import SDXLModel
from mindloom_sdxl.layouts import safe, shapes
from mindloom_sdxl.layouts.drawing import drawn
from mindloom_sdxl.layouts.opening import Weights, open_weights
from mindloom_sdxl.layouts.saving import Wish, save
from mindloom_sdxl.layouts.tensors import Lazy
from mindloom_sdxl.presets import BASE, TINY, Preset
from mindloom_sdxl.weights import Leniency, load_weights, save_weights
from mindspore import nn
from mindspore.nn.utils import no_init_parameters
from safetensors.numpy import load_file, save_file


class Leaf(nn.Cell):
    def __init__(self, dtype: ms.Type) -> None:
        super().__init__()
        self.weight = ms.Parameter(ms.Tensor(np.zeros((2, 3)), dtype), name="weight")
        self.bias = ms.Parameter(ms.Tensor(np.zeros(3), dtype), name="bias")


class Model(nn.Cell):
    def __init__(self, dtype: ms.Type = ms.float32) -> None:
        super().__init__()
        self.norm, self.out = Leaf(dtype), Leaf(dtype)


def tensors() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = {"norm.weight": (2, 3), "norm.bias": (3,), "out.weight": (2, 3), "out.bias": (3,)}
    return {name: generator.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def values(model: nn.Cell) -> dict[str, np.ndarray]:
    return {parameter.name: parameter.asnumpy() for parameter in model.get_parameters()}


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_weights(Model(), path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_save_then_load_gives_equal_bits(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "a.safetensors")
    first, second = Model(), Model()
    load_weights(first, tmp_path / "a.safetensors")
    save_weights(first, tmp_path / "new" / "b.safetensors")
    load_weights(second, tmp_path / "new" / "b.safetensors")
    for name, value in values(second).items():
        np.testing.assert_array_equal(value, tensors()[name])
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["b.safetensors"]


def test_saved_file_is_what_the_safetensors_library_reads(tmp_path: Path) -> None:
    save_weights(Model(ms.float16), tmp_path / "a.safetensors")
    stored = load_file(tmp_path / "a.safetensors")
    assert {name: (value.shape, value.dtype.name) for name, value in stored.items()} == {
        name: (value.shape, "float16") for name, value in tensors().items()
    }
    (length,) = struct.unpack("<Q", (tmp_path / "a.safetensors").read_bytes()[:8])
    header = json.loads((tmp_path / "a.safetensors").read_bytes()[8 : 8 + length])
    assert header["__metadata__"] == {"format": "pt"}
    assert length % 8 == 0


def test_loading_casts_to_the_dtype_of_the_parameter(tmp_path: Path) -> None:
    save_file({name: value.astype(np.float16) for name, value in tensors().items()}, tmp_path / "a.safetensors")
    model = Model()
    load_weights(model, tmp_path / "a.safetensors")
    for name, value in values(model).items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, tensors()[name].astype(np.float16).astype(np.float32))


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    header, data = {}, b""
    for name, value in tensors().items():
        upper = (value.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        header[name] = {"dtype": "BF16", "shape": value.shape, "data_offsets": [len(data), len(data) + len(upper)]}
        data += upper
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    model = Model()
    load_weights(model, tmp_path / "a.safetensors")
    for name, value in values(model).items():
        np.testing.assert_array_equal(value.view(np.uint32), tensors()[name].view(np.uint32) & 0xFFFF0000)


def test_harmless_extras_are_ignored_and_a_folder_with_one_file_will_do(tmp_path: Path) -> None:
    extras: dict[str, np.ndarray] = {
        "text_model.embeddings.position_ids": np.arange(77)[None],
        "model_ema.decay": np.ones(1, np.float32),
        "denoiser.sigmas": np.zeros(1000, np.float32),
    }
    save_file(tensors() | extras, tmp_path / "a.safetensors")
    load_weights(Model(), tmp_path)


def test_reference_recipes_checkpoint_is_renamed(tmp_path: Path) -> None:
    old = {"norm.weight": "norm.gamma", "norm.bias": "norm.beta", "out.weight": "out.embedding_table"}
    ms.save_checkpoint(
        [{"name": old.get(name, name), "data": ms.Tensor(value)} for name, value in tensors().items()],
        str(tmp_path / "a.ckpt"),
    )
    model = Model()
    load_weights(model, tmp_path / "a.ckpt")
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, tensors()[name])


def test_all_misfits_are_told_at_once_and_nothing_is_loaded(tmp_path: Path) -> None:
    stored = tensors()
    del stored["norm.bias"]
    stored["out.weight"] = stored["out.weight"].T.copy()
    stored |= {f"lora_{index}": np.zeros(1, np.float32) for index in range(5)}
    save_file(stored, tmp_path / "a.safetensors")
    model = Model()
    with pytest.raises(UserError) as caught:
        load_weights(model, tmp_path / "a.safetensors")
    message = str(caught.value)
    assert "1 missing: norm.bias (3,)" in message
    assert "5 unexpected: lora_0 (1,), lora_1 (1,), lora_2 (1,), ...;" in message
    assert "1 of another shape: out.weight (3, 2) instead of (2, 3)" in message
    assert "\n" not in message
    assert not any(value.any() for value in values(model).values())


def test_unreadable_mindspore_checkpoint_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"nothing of the kind" * 10)
    assert "MindSpore checkpoint" in refusal(tmp_path / "a.ckpt")


def test_missing_path_and_folder_without_weights_say_what_to_give(tmp_path: Path) -> None:
    assert "do not exist" in refusal(tmp_path / "nowhere.safetensors")
    assert "diffusers folder" in refusal(tmp_path)
    for name in "ab":
        save_file(tensors(), tmp_path / f"{name}.safetensors")
    assert "told apart" in refusal(tmp_path)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
def test_any_dtype_becomes_that_of_the_parameter(tmp_path: Path, dtype: str) -> None:
    lazy = {name: Lazy("F32", value.shape, lambda v=value: v).cast(dtype) for name, value in tensors().items()}
    safe.write(tmp_path / "a.safetensors", lazy, {})
    for kind in (ms.float16, ms.float32):
        model = Model(kind)
        load_weights(model, tmp_path / "a.safetensors")
        for name, parameter in model.parameters_and_names():
            assert parameter.dtype == kind
            rounding = 2.0**-8 if dtype == "BF16" else 2.0**-10
            np.testing.assert_allclose(parameter.asnumpy(), tensors()[name], rtol=rounding)


def test_number_beyond_float16_is_refused_instead_of_made_infinite(tmp_path: Path) -> None:
    save_file(tensors() | {"out.bias": np.array([1, 70000, 0], np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="7e\\+04 do not fit"):
        load_weights(Model(ms.float16), tmp_path / "a.safetensors")


def test_not_strict_takes_what_is_there_if_the_names_that_are_missing_may_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored = tensors() | {"lora_0": np.zeros(1, np.float32)}
    del stored["norm.bias"]
    save_file(stored, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="accept this with --strict false"):
        load_weights(Model(), tmp_path / "a.safetensors")
    with pytest.raises(
        UserError, match=r"1 missing: norm\.bias.*missing lets be missing out.\*, which.*norm.bias: add a"
    ):
        load_weights(Model(), tmp_path / "a.safetensors", leniency=Leniency(False, ("out.*",)))
    model = Model()
    load_weights(model, tmp_path / "a.safetensors", leniency=Leniency(False, ("nor?.*",)))
    assert "1 missing\n  norm.bias  (3,)\n1 unexpected\n  lora_0" in caplog.text
    assert not values(model)["norm.bias"].any()
    np.testing.assert_array_equal(values(model)["norm.weight"], stored["norm.weight"])


def test_not_strict_never_takes_another_shape(tmp_path: Path) -> None:
    save_file(tensors() | {"out.bias": np.zeros(4, np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"out.bias \(4,\) instead of \(3,\)"):
        load_weights(Model(), tmp_path / "a.safetensors", leniency=Leniency(False))


def fresh(preset: Preset) -> SDXLModel:
    with no_init_parameters():
        return SDXLModel(preset)


def saved(path: Path, seed: int = 0, begin: str = "") -> Weights:
    """A single file of the tiny preset, or those of its tensors whose names begin so."""
    wanted = {name: shape for name, shape in shapes.of(TINY).items() if name.startswith(begin)}
    weights = Weights(path, "single", drawn(wanted, TINY, seed))
    save(weights, path, Wish("single"))
    return weights


@pytest.mark.parametrize("layout", ["single", "diffusers", "bare", "folder"])
def test_another_vae_replaces_the_one_of_the_file(tmp_path: Path, layout: str) -> None:
    vae, begin = tmp_path / "b.safetensors", "first_stage_model."
    saved(tmp_path / "a.safetensors", begin=begin)
    other = saved(vae, seed=1)
    if layout in ("diffusers", "folder"):
        save(other, tmp_path / "d", Wish("diffusers"))
        vae = tmp_path / "d" / "vae"
        vae = vae / "diffusion_pytorch_model.safetensors" if layout == "diffusers" else vae
    elif layout == "bare":
        vae = tmp_path / "c.safetensors"
        parts = {n[len(begin) :]: t for n, t in other.tensors.items() if n.startswith(begin)}
        safe.write(vae, parts, {})
    model = fresh(TINY)
    load_weights(model, tmp_path / "a.safetensors", only=(begin,), leniency=Leniency(vae=str(vae)))
    for name, parameter in model.first_stage_model.parameters_and_names():
        np.testing.assert_array_equal(parameter.asnumpy(), other.tensors[begin + name].read())


def test_file_without_a_vae_cannot_replace_it(tmp_path: Path) -> None:
    saved(tmp_path / "a.safetensors", begin="model.")
    with pytest.raises(UserError, match="holds no VAE") as caught:
        load_weights(fresh(TINY), tmp_path / "a.safetensors", leniency=Leniency(vae=str(tmp_path / "a.safetensors")))
    assert caught.value.setting == "plugins.sdxl.vae"


def test_run_folder_means_its_newest_checkpoint(tmp_path: Path) -> None:
    for step, seed in ((2, 0), (10, 1)):
        folder = tmp_path / "checkpoints" / f"step-{step:08d}"
        newest = saved(folder / "model.safetensors", seed=seed, begin="model.diffusion_model.time_embed")
        (folder / "state.json").write_text("{}")
    (tmp_path / "checkpoints" / "step-00000099").mkdir()  # was never finished
    for path in (tmp_path, tmp_path / "checkpoints", folder, folder / "model.safetensors"):
        opened = open_weights(path)
        name = "model.diffusion_model.time_embed.0.weight"
        np.testing.assert_array_equal(opened.tensors[name].read(), newest.tensors[name].read())
    assert open_weights(tmp_path).layout == "checkpoint"


def test_a_folder_of_runs_is_refused_and_its_newest_run_named(tmp_path: Path) -> None:
    for run, step, time in (("a", 7, 200), ("b", 9, 100), ("unfinished", 1, 300)):
        folder = tmp_path / run / "checkpoints" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()
        os.utime(folder / "model.safetensors", (time, time))
        if run != "unfinished":
            (folder / "state.json").write_text("{}")
    assert refusal(tmp_path).endswith(f"holds runs and is none itself: give one, the newest is {tmp_path / 'a'}")


def test_advice_fits_what_the_file_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = fresh(TINY)
    saved(tmp_path / "tiny.safetensors", begin="model.diffusion_model.time_embed")
    with pytest.raises(
        UserError, match=r"\(\d+ missing, 4 of .*they are of preset tiny: set plugins\.sdxl\.preset=tiny"
    ):
        load_weights(fresh(BASE), tmp_path / "tiny.safetensors")
    assert "against the model" not in caplog.text, "the preset says it all"
    saved(tmp_path / "unet.safetensors", begin="model.")
    with pytest.raises(UserError, match="UNet only: complete them with mindloom weights merge"):
        load_weights(model, tmp_path / "unet.safetensors")
    refiner = {"conditioner.embedders.0.model.ln_final.weight": np.ones(4, np.float32)}
    save_file(refiner, tmp_path / "refiner.safetensors")
    with pytest.raises(UserError, match="are SDXL's refiner, which is not trained here"):
        load_weights(model, tmp_path / "refiner.safetensors")
