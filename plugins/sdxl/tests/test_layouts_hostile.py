"""Damaged and hostile files: refused in one line before anything is read, and nothing is ever unpickled."""

from __future__ import annotations

import contextlib
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom import UserError
from mindloom_sdxl.layouts import mindspore_file
from mindloom_sdxl.layouts.opening import open_weights
from mindloom_sdxl.layouts.tensors import Lazy
from safetensors.numpy import save_file

Header = dict[str, Any]


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        open_weights(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def written(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(begin: int = 0, end: int = 24, shape: Any = (2, 3), dtype: Any = "F32") -> Header:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HOSTILE: dict[str, Header] = {
    "overlap": {"a": entry(), "b": entry(0, 24)},
    "gap": {"a": entry(), "b": entry(28, 52)},
    "bytes left over": {"a": entry(0, 24)},
    "beyond the end": {"a": entry(), "b": entry(24, 10**15, [10**15 - 24], "U8")},
    "negative offset": {"a": entry(-24, 0), "b": entry()},
    "negative shape": {"a": entry(shape=[-2, -3]), "b": entry(24, 48)},
    "shape of texts": {"a": entry(shape=["2", "3"]), "b": entry(24, 48)},
    "shape of truths": {"a": entry(shape=[True, 6]), "b": entry(24, 48)},
    "shape is a number": {"a": entry(shape=6), "b": entry(24, 48)},
    "larger shape than bytes": {"a": entry(shape=[10**9, 10**9]), "b": entry(24, 48)},
    "unknown dtype": {"a": entry(dtype="F128"), "b": entry(24, 48)},
    "other dtype": {"a": entry(dtype="F16"), "b": entry(24, 48)},
    "dtype is a list": {"a": entry(dtype=["F32"]), "b": entry(24, 48)},
    "three offsets": {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24, 48]}},
    "no offsets": {"a": {"dtype": "F32", "shape": [2, 3]}},
    "entry is a number": {"a": 1},
    "metadata is a number": {"__metadata__": 1, "a": entry(), "b": entry(24, 48)},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_header_that_lies_is_refused(tmp_path: Path, case: str) -> None:
    path = written(tmp_path / "a.safetensors", HOSTILE[case], bytes(48))
    assert "not a whole safetensors file" in refusal(path)


@pytest.mark.parametrize("length", [0, 10**6, 2**40, 2**63, 2**64 - 1])
def test_absurd_length_of_the_header_allocates_nothing(tmp_path: Path, length: int) -> None:
    assert "download the file again" in refusal(written(tmp_path / "a.safetensors", {"a": entry()}, bytes(24), length))


@pytest.mark.parametrize("header", [b"[]", b"{", b"[" * 100_000, b'"\xff"', b"nothing", b"{} {}"])
def test_header_that_is_no_object_is_refused(tmp_path: Path, header: bytes) -> None:
    assert "not a whole safetensors file" in refusal(written(tmp_path / "a.safetensors", header))


@pytest.mark.parametrize("cut", [0, 5, 60, -1])
def test_cut_file_says_download_again(tmp_path: Path, cut: int) -> None:
    save_file({"a": np.ones((2, 3), np.float32)}, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[:cut])
    assert "download the file again" in refusal(tmp_path / "a.safetensors")


def harm() -> None:
    raise AssertionError("a pickle was loaded")


class Harmful:
    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return harm, ()


@pytest.mark.parametrize("name", ["a.ckpt", "a.bin", "a.pt", "a.safetensors", "lightning.ckpt"])
def test_pickles_are_refused_with_what_to_do_and_never_loaded(tmp_path: Path, name: str) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / name).write_bytes(pickle.dumps(Harmful(), protocol))
        assert "safetensors.torch.save_file" in refusal(tmp_path / name)
    with zipfile.ZipFile(tmp_path / name, "w") as packed:
        packed.writestr("archive/data.pkl", pickle.dumps(Harmful()))
    assert "safetensors.torch.save_file" in refusal(tmp_path / name)


def test_folder_of_pickles_says_so(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(1))
    with pytest.raises(UserError, match=r"pickles only .*safetensors\.torch\.save_file"):
        open_weights(tmp_path)


def test_safetensors_file_that_begins_like_a_pickle_is_read(tmp_path: Path) -> None:
    header = json.dumps({"a": entry()}).encode().ljust(0x0280)
    assert written(tmp_path / "a.safetensors", header, bytes(24)).read_bytes()[:2] == b"\x80\x02"
    assert open_weights(tmp_path / "a.safetensors").tensors["a"].read().shape == (2, 3)


def test_git_lfs_pointer_says_pull(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git lfs pull" in refusal(tmp_path / "a.safetensors")


@pytest.mark.parametrize("file", ["../secret.safetensors", "/etc/passwd", "sub/a.safetensors", 7, "a.bin"])
def test_index_that_leads_elsewhere_is_refused(tmp_path: Path, file: object) -> None:
    (tmp_path / "unet").mkdir()
    index = tmp_path / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"conv_in.weight": file}}))
    with pytest.raises(UserError, match="lists"):
        open_weights(tmp_path)


def test_index_of_shards_that_are_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    index = tmp_path / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    for content, reason in (
        ('{"weight_map": {"a": "a.safetensors"}}', "not there"),
        ("[]", "damaged"),
        ("{", "damaged"),
    ):
        index.write_text(content)
        with pytest.raises(UserError, match=reason):
            open_weights(tmp_path)


def test_every_cut_of_a_mindspore_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    mindspore_file.write(path, {"some.gamma": Lazy("F32", (2, 3), lambda: values)})
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert "MindSpore checkpoint" in refusal(path)
    for place in range(len(whole) - values.nbytes):
        path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        with contextlib.suppress(UserError):  # a changed letter of a name is still a name
            open_weights(path)
