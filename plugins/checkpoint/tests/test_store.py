"""Checkpoints on disk: complete or absent, found by age, refused with advice when something is wrong with them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mindloom_checkpoint.store as store_module
import numpy as np
import pytest
from mindloom import TrainingError, UserError
from mindloom.checkpoint import Snapshot
from mindloom_checkpoint import tensors
from mindloom_checkpoint.store import Store
from safetensors import safe_open

Make = Callable[..., Snapshot]
HERE = Path(__file__).parent


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_a_snapshot_comes_back_as_it_was(tmp_path: Path, store: Store, snapshot: Make) -> None:
    saved = snapshot(12, 0.5, ema={"decay": 0.9})
    path = store.save(saved, tmp_path)
    loaded = store.load(path)
    assert path == tmp_path / "checkpoints" / "step-00000012"
    assert store.run_folder(path) == tmp_path
    assert loaded.meta.items() >= saved.meta.items()
    for group, arrays in saved.arrays.items():
        assert loaded.arrays[group].keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(loaded.arrays[group][name], array, strict=True)
    assert sorted(file.name for file in path.iterdir()) == [
        "config.yaml", "model.safetensors", "optimizer.safetensors", "plugins.safetensors", "state.json",
    ]  # fmt: skip
    assert (path / "config.yaml").read_text() == "max_steps: 9\n"


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5, np.float32),
        np.zeros((0, 4), np.float16),
        np.arange(12, dtype=np.float16).reshape(3, 4).T,
        np.arange(6, dtype=">i4")[::2],
        np.array([True, False]),
        np.arange(5, dtype=np.int64),
    ],
    ids=["scalar", "empty", "transposed", "big-endian", "bool", "int64"],
)
def test_arrays_of_every_kind_keep_dtype_shape_and_values(tmp_path: Path, array: np.ndarray) -> None:
    path = tmp_path / "x.safetensors"
    # The odd-sized neighbour would push the array off its alignment if order did not matter.
    receipt = tensors.write(path, {"a": np.array([1, 2, 3], np.uint8), "array": array})
    back = tensors.read(path)["array"]
    assert back.dtype == array.dtype.newbyteorder("=")
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)
    assert receipt["size"] == path.stat().st_size


def test_weights_open_in_other_tools(tmp_path: Path, store: Store, snapshot: Make) -> None:
    path = store.save(snapshot(1), tmp_path)
    with safe_open(path / "model.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}
        assert list(file.keys()) == ["unet.weight"]


def test_what_the_formats_cannot_hold_is_refused_by_name(tmp_path: Path, store: Store, snapshot: Make) -> None:
    kept = store.save(snapshot(1), tmp_path)
    with pytest.raises(TrainingError, match=r"state_dict of plugin 'ema'"):
        store.save(snapshot(2, ema={"thing": object()}), tmp_path)
    with pytest.raises(TrainingError, match=r"logger/names is of dtype <U1"):
        store.save(Snapshot({"model": {"logger/names": np.array(["a"])}}, snapshot(2).meta), tmp_path)
    assert names(tmp_path) == [kept.name]


def test_rotation_keeps_the_newest(tmp_path: Path, snapshot: Make) -> None:
    store = Store("", keep=2)
    for step in (1, 2, 3, 4):
        store.save(snapshot(step), tmp_path)
    assert names(tmp_path) == ["step-00000003", "step-00000004"]
    # A run that went back to step 1 writes a new branch: what it wrote last is the newest, not the highest step.
    store.save(snapshot(2), tmp_path)
    assert names(tmp_path) == ["step-00000002", "step-00000004"]
    assert store.latest(tmp_path) == tmp_path / "checkpoints" / "step-00000002"


def test_the_newest_stays_newest_when_the_clock_is_set_back(
    tmp_path: Path, store: Store, snapshot: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(snapshot(1), tmp_path)
    monkeypatch.setattr(store_module.time, "time", lambda: 1000.0)
    newer = store.save(snapshot(2), tmp_path)
    assert store.latest(tmp_path) == newer


def test_latest_is_the_newest_of_all_runs_even_after_copying(tmp_path: Path, store: Store, snapshot: Make) -> None:
    store.save(snapshot(5), tmp_path / "a")
    newest = store.save(snapshot(3), tmp_path / "b")
    for run in "ab":
        shutil.copytree(tmp_path / run, tmp_path / "copy" / run, copy_function=shutil.copyfile)
    assert store.find("latest", tmp_path) == newest
    assert store.find("latest", tmp_path / "copy") == tmp_path / "copy/b/checkpoints/step-00000003"
    assert store.find(str(tmp_path / "a"), tmp_path) == tmp_path / "a/checkpoints/step-00000005"
    assert store.find(str(tmp_path / "a/checkpoints"), tmp_path) == tmp_path / "a/checkpoints/step-00000005"
    assert store.find(str(newest), Path("nowhere")) == newest


def test_a_checkpoint_copied_out_of_its_run_starts_a_run_beside_itself(
    tmp_path: Path, store: Store, snapshot: Make
) -> None:
    path = tmp_path / "backup" / "step-00000001"
    shutil.copytree(store.save(snapshot(1), tmp_path), path)
    assert store.run_folder(store.find(str(path), tmp_path)) == tmp_path / "backup"


@pytest.mark.parametrize(
    ("file", "damage", "reason"),
    [
        ("model.safetensors", "truncate", r"model.safetensors has 50 bytes instead of \d+"),
        ("state.json", "delete", "state.json is missing"),
        ("state.json", "truncate", "state.json is damaged"),
        ("optimizer.safetensors", "delete", "optimizer.safetensors is missing"),
    ],
)
def test_an_incomplete_one_is_refused_and_the_one_before_named(
    tmp_path: Path, store: Store, snapshot: Make, file: str, damage: str, reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    before = store.save(snapshot(1), tmp_path)
    path = store.save(snapshot(2), tmp_path)
    if damage == "delete":
        (path / file).unlink()
    else:
        (path / file).write_bytes((path / file).read_bytes()[:50])
    with pytest.raises(UserError, match=rf"{reason}; use the one before: --resume {before}") as refusal:
        store.find(str(path), tmp_path)
    assert "\n" not in str(refusal.value)
    assert store.find("latest", tmp_path) == before
    assert f"{path} is incomplete and left out" in caplog.text
    shutil.rmtree(before)
    with pytest.raises(UserError, match=r"there is no other one beside it"):
        store.find(str(path), tmp_path)
    for what in ("latest", str(tmp_path / "checkpoints")):
        with pytest.raises(
            UserError, match=rf"there is no complete checkpoint in .*, {path}, is of no use \({reason}\);"
        ):
            store.find(what, tmp_path)
    with pytest.raises(UserError, match=rf"{path} is not a complete checkpoint: {reason}; there is no other"):
        store.find("2", tmp_path)


def test_the_newest_of_several_damaged_ones_is_named(tmp_path: Path, store: Store, snapshot: Make) -> None:
    for run, steps in (("b", (9,)), ("a", (2, 10))):
        for path in [store.save(snapshot(step), tmp_path / run) for step in steps]:
            (path / "state.json").unlink()
    os.utime(tmp_path / "b" / "checkpoints", (1, 1))
    with pytest.raises(
        UserError, match=r"/a/checkpoints/step-00000010, is of no use \(state.json is missing\); restore"
    ):
        store.find("latest", tmp_path)


def test_one_changed_byte_is_found_when_reading(tmp_path: Path, store: Store, snapshot: Make) -> None:
    before = store.save(snapshot(1), tmp_path)
    path = store.save(snapshot(2), tmp_path)
    data = bytearray((path / "optimizer.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "optimizer.safetensors").write_bytes(data)
    with pytest.raises(UserError, match=rf"optimizer.safetensors is damaged.*--resume {before}"):
        store.load(store.find(str(path), tmp_path))


def test_a_checkpoint_of_a_later_format_is_refused(tmp_path: Path, store: Store, snapshot: Make) -> None:
    path = store.save(snapshot(1), tmp_path)
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**state, "format": 2}))
    with pytest.raises(UserError, match=r"it has format 2, this mindloom reads format 1"):
        store.find(str(path), tmp_path)


@pytest.mark.parametrize("what", ["latest", "nowhere", "file"])
def test_nothing_to_resume_from_is_an_error_of_one_line(tmp_path: Path, store: Store, what: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"no complete checkpoint|no folder to resume from") as refusal:
        store.find(what if what == "latest" else str(tmp_path / what), tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_failed_save_leaves_everything_as_it_was(
    tmp_path: Path, store: Store, snapshot: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.save(snapshot(1, 1.0), tmp_path)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module, "write_state", full)
    with pytest.raises(TrainingError, match=r"step 1 cannot be written.*No space left on device.*are kept"):
        store.save(snapshot(1, 2.0), tmp_path)
    assert names(tmp_path) == [path.name]
    assert store.load(path).arrays["model"]["unet.weight"][0, 0] == 1.0


def test_a_kill_before_any_change_on_disk_leaves_a_complete_checkpoint(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "crash_points.py"), str(tmp_path)],
        env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 40


@pytest.mark.parametrize(("key", "value", "words"), [
    ("step", -3, "its step is -3, which is below 0"),
    ("step", "many", "its step is 'many', which is no int"),
    ("world_size", 0, "its world_size is 0, which is below 1"),
    ("plugins", [], "its plugins is [], which is no dict"),
])  # fmt: skip
def test_counters_that_no_run_wrote_are_damage(
    tmp_path: Path, store: Store, snapshot: Make, key: str, value: object, words: str
) -> None:
    path = store.save(snapshot(2, 0.5), tmp_path)
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**state, key: value}))
    with pytest.raises(UserError, match=re.escape(f"state.json is damaged: {words}")):
        store.find(str(path), tmp_path)
