"""Weights files: official names in, official names out, and one line when something does not fit."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindloom import UserError
from mindloom_sdxl.weights import load_weights, save_weights
from mindspore import nn
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


@pytest.mark.parametrize("cut", [0, 5, 60, -1])
def test_damaged_file_says_download_again(tmp_path: Path, cut: int) -> None:
    save_file(tensors(), tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[:cut])
    assert "download" in refusal(tmp_path / "a.safetensors")


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(pickle.dumps({"a": 1}))
    assert "pickle" in refusal(tmp_path / "a.ckpt")
    (tmp_path / "b.safetensors").write_bytes(b"PK\x03\x04" + bytes(100))
    assert "pickle" in refusal(tmp_path / "b.safetensors")


def test_unreadable_mindspore_checkpoint_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"nothing of the kind" * 10)
    assert "MindSpore checkpoint" in refusal(tmp_path / "a.ckpt")


def test_missing_path_and_diffusers_folder_say_what_to_give(tmp_path: Path) -> None:
    assert "do not exist" in refusal(tmp_path / "nowhere.safetensors")
    (tmp_path / "model_index.json").write_text("{}")
    assert "diffusers layout" in refusal(tmp_path)
