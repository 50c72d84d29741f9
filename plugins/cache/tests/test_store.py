"""What is read is what was written, or the file is named that is to be deleted."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from mindloom import TrainingError
from mindloom_cache import shard, store
from mindloom_cache.store import Store, Writer
from safetensors import safe_open

LOG = logging.getLogger("mindloom")


def key(number: int) -> bytes:
    return bytes([number]) * 32


def arrays(number: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(number)
    return {
        "mean": generator.standard_normal((4, 3, 2), np.float32),
        "place": np.arange(number, number + 3, dtype=np.int32),
        "scalar": np.array(number, np.float32),
    }


def filled(folder: Path, count: int = 5, dtype: str = "float32") -> Store:
    writer = Writer(folder, 0, dtype)
    for number in range(count):
        writer.add(key(number), arrays(number))
    writer.flush()
    found = Store(folder)
    found.load(LOG, is_main=True)
    return found


def test_entries_come_back_bit_for_bit(tmp_path: Path) -> None:
    found = filled(tmp_path)
    for number in range(5):
        read = found.read(found.index[key(number)])
        for name, array in arrays(number).items():
            assert read[name].dtype == array.dtype
            assert (read[name] == array).all()
    assert key(9) not in found.index


def test_files_are_plain_safetensors(tmp_path: Path) -> None:
    filled(tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    with safe_open(path, "numpy") as file:
        assert (file.get_tensor(f"{key(3).hex()}/mean") == arrays(3)["mean"]).all()
        assert file.metadata()["format"] == shard.FORMAT
        assert set(json.loads(file.metadata()["sha256"])) == {key(number).hex() for number in range(5)}


def test_files_are_divided_by_entries_bytes_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ENTRIES", 2), ("BYTES", 300), ("SECONDS", -1.0)):
        folder = tmp_path / name
        folder.mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(store, name, value)
            filled(folder, 6)
        assert len(list(folder.glob("*.safetensors"))) == {"ENTRIES": 3, "BYTES": 2, "SECONDS": 6}[name]


def test_half_precision_rounds_floats_only_and_is_widened_again(tmp_path: Path) -> None:
    found = filled(tmp_path, dtype="float16")
    read = found.read(found.index[key(1)])
    assert read["mean"].dtype == np.float32
    assert (read["mean"] == arrays(1)["mean"].astype(np.float16)).all()
    assert (read["place"] == arrays(1)["place"]).all()


@pytest.mark.parametrize(("value", "dtype"), [(np.nan, "float32"), (1e6, "float16")])
def test_what_is_no_number_is_refused_when_it_is_written(value: float, dtype: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"context holds numbers that float(32|16) cannot"):
        Writer(tmp_path, 0, dtype).add(key(0), {"context": np.array([1, value], np.float32)})


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    (path,) = tmp_path.glob("*.safetensors")
    good = path.read_bytes()
    named = found_early = 0
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        damaged = Store(tmp_path)
        damaged.load(LOG, is_main=False)
        for number in range(2):
            entry = damaged.index.get(key(number))
            if entry is None:
                found_early += 1
                continue
            try:
                read = damaged.read(entry)
            except TrainingError as error:
                named += str(path) in str(error) and "delete it" in str(error)
            else:
                assert all((read[name] == array).all() for name, array in arrays(number).items())
    assert named > 10
    assert found_early > 10


def test_file_cut_short_is_set_aside_and_the_others_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path, 2)
    (bad,) = tmp_path.glob("*.safetensors")
    os.truncate(bad, bad.stat().st_size - 1)
    writer = Writer(tmp_path, 1, "float32")
    writer.add(key(7), arrays(7))
    writer.flush()
    found = Store(tmp_path)
    found.load(LOG, is_main=True)
    assert set(found.index) == {key(7)}
    assert not bad.exists()
    assert "set aside" in caplog.text
    for junk in (b"", b"x", b"\xff" * 64, b"\x02" + bytes(7) + b"{}", b"\x02" + bytes(7) + b"[]"):
        bad.write_bytes(junk)
        again = Store(tmp_path)
        again.load(LOG, is_main=True)
        assert set(again.index) == {key(7)}


def test_file_removed_during_the_run_is_named(tmp_path: Path) -> None:
    found = filled(tmp_path, 1)
    (path,) = tmp_path.glob("*.safetensors")
    path.unlink()
    with pytest.raises(TrainingError, match=path.name):
        found.read(0)


def test_loading_twice_takes_only_what_is_new(tmp_path: Path) -> None:
    found = filled(tmp_path, 3)
    filled(tmp_path, 5)
    found.load(LOG, is_main=True)
    assert len(found.files) == 2
    assert set(found.index) == {key(number) for number in range(5)}
    assert (found.read(found.index[key(4)])["mean"] == arrays(4)["mean"]).all()


def test_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"cannot be written \(No space left on device\): free space"):
        filled(tmp_path, 1)


def test_half_files_of_long_ago_are_swept(tmp_path: Path) -> None:
    old, new = tmp_path / "a.safetensors.part", tmp_path / "b.safetensors.part"
    old.touch()
    new.touch()
    os.utime(old, (1, 1))
    filled(tmp_path, 1)
    assert not old.exists()
    assert new.exists()


def test_many_threads_read_at_once(tmp_path: Path) -> None:
    found = filled(tmp_path, 5)
    wrong: list[int] = []

    def work() -> None:
        for turn in range(200):
            number = turn % 5
            if not (found.read(found.index[key(number)])["mean"] == arrays(number)["mean"]).all():
                wrong.append(number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert wrong == []
