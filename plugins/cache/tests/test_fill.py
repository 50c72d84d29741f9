"""Results are computed once, by whoever's turn it is, and again only for what changed."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom import TrainingError, UserError
from mindloom.formats import SampleError
from mindloom_cache import place
from mindloom_cache.place import Place

sys.path.insert(0, str(Path(__file__).parent))
from fake import Doubler, Samples, Stamped, cached, two


def test_samples_hand_out_what_was_computed_and_are_not_read_for_it(tmp_path: Path) -> None:
    source, frozen = Samples(7), Doubler(mirror=True)
    found = cached(tmp_path, source, frozen)
    source.read.clear()
    assert len(found) == 7
    for index in range(7):
        kept = found[index]["kept"]
        twice = np.frombuffer(source.images[index], np.float32) * 2
        assert kept("picture")["twice"].tobytes() == twice.tobytes()
        assert kept("mirrored")["twice"].tobytes() == twice[::-1].tobytes()
        assert kept("picture")["place"].dtype == np.int64
        assert kept("caption")["length"] == len(source.captions[index])
    assert source.read == []
    assert frozen.sizes == {3}, "every batch has one size"


def test_second_run_computes_nothing_and_loads_no_weights(tmp_path: Path) -> None:
    cached(tmp_path, Samples(7), Doubler())
    again = Doubler()
    found = cached(tmp_path, Samples(7), again)
    assert (again.loads, again.encoded) == (0, 0)
    assert found[6]["kept"]("caption")["length"] == 8


def test_equal_contents_are_computed_once(tmp_path: Path) -> None:
    source, frozen = Samples(6), Doubler()
    source.captions = ["same"] * 6
    cached(tmp_path, source, frozen, batch_size=1)
    assert frozen.encoded == 6 + 1


@pytest.mark.parametrize("kind", [Samples, Stamped])
def test_only_what_changed_is_computed_again(tmp_path: Path, kind: type[Samples]) -> None:
    source = kind(8)
    cached(tmp_path, source, Doubler(), batch_size=1)
    source.images[3] = np.arange(9, dtype=np.float32).tobytes()
    source.captions[5] = "another caption"
    again = Doubler()
    found = cached(tmp_path, source, again, batch_size=1)
    assert again.encoded == 2
    assert found[3]["kept"]("picture")["twice"].shape == (9,)
    assert found[5]["kept"]("caption")["length"] == 15


def test_samples_with_known_stamps_are_not_even_read(tmp_path: Path) -> None:
    source = Stamped(8)
    cached(tmp_path, source, Doubler())
    source.captions[2] = "changed"
    source.read.clear()
    cached(tmp_path, source, Doubler())
    assert set(source.read) == {2}


def test_other_weights_settings_or_dtype_are_other_results(tmp_path: Path) -> None:
    cached(tmp_path, Samples(3), Doubler())
    lower = Doubler()
    found = cached(tmp_path, Samples(3), lower, dtype="float16")
    assert lower.encoded == 6
    assert found[0]["kept"]("picture")["twice"].dtype == np.float32
    changed = Doubler()
    changed.parts = {**changed.parts, "caption": type(changed.parts["caption"])({"words": "some"})}
    cached(tmp_path, Samples(3), changed)
    assert changed.encoded == 3, "captions only"
    (tmp_path / "weights").write_bytes(b"other weights")
    other = Doubler()
    cached(tmp_path, Samples(3), other)
    assert (other.loads, other.encoded) == (1, 6)


def test_broken_sample_is_broken_as_without_the_cache_and_costs_no_weights_later(tmp_path: Path) -> None:
    source = Samples(5)
    source.images[1] = b"12345"
    source.captions[2] = None  # type: ignore[call-overload]
    cached(tmp_path, source, Doubler())
    again = Doubler()
    found = cached(tmp_path, source, again)
    assert again.loads == 0
    with pytest.raises(SampleError, match=r"^cut short$") as raised:
        found[1]
    assert (raised.value.id, raised.value.where) == ("id-1", "memory")
    with pytest.raises(SampleError, match="a NoneType where bytes or a text should be"):
        found[2]
    assert found[3]["kept"]("caption")["length"] == 8


def test_repaired_sample_is_computed(tmp_path: Path) -> None:
    source = Samples(3)
    good, source.images[1] = source.images[1], b"123"
    cached(tmp_path, source, Doubler())
    source.images[1] = good
    assert cached(tmp_path, source, Doubler())[1]["kept"]("picture")["twice"].shape == (7,)


def test_stream_is_refused_with_what_to_do(tmp_path: Path) -> None:
    class Stream:
        def __len__(self) -> int:
            return 3

    with pytest.raises(UserError, match=r"come as a stream, which cannot be cached.*indexed format"):
        cached(tmp_path, Stream(), Doubler())


@pytest.mark.parametrize("kind", [Samples, Stamped])
def test_two_ranks_share_the_work_and_read_all(tmp_path: Path, kind: type[Samples]) -> None:
    encoders = Doubler(), Doubler()
    sources = kind(10), kind(10)
    found = two(lambda world: cached(tmp_path, sources[world.rank], encoders[world.rank], world, batch_size=1))
    assert sum(frozen.encoded for frozen in encoders) == 20
    assert all(frozen.encoded > 2 for frozen in encoders)
    for source in found:
        assert [int(source[index]["kept"]("caption")["length"]) for index in range(10)] == [8] * 10  # type: ignore
    again = Doubler(), Doubler()
    two(lambda world: cached(tmp_path, kind(10), again[world.rank], world))
    assert [frozen.encoded for frozen in again] == [0, 0]
    assert not list((tmp_path / "cache").glob("*.part"))
    if kind is Samples:
        assert not list((tmp_path / "cache").glob("*.npy")), "hashes of samples without stamps are good for one run"


@pytest.mark.parametrize("what", ["weights.json", "caption+image"])
@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS])
def test_full_or_read_only_disk_is_one_line_when_contents_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, reason: int
) -> None:
    real = Path.replace

    def refused(path: Path, target: Path) -> Path:
        if target.name.startswith(what):
            raise OSError(reason, os.strerror(reason))
        return real(path, target)

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(
        TrainingError, match=rf"{re.escape(what)}.* cannot be written \({os.strerror(reason)}\): free space"
    ):
        cached(tmp_path, Stamped(4), Doubler())
    assert not list((tmp_path / "cache").glob("*.part"))
    monkeypatch.undo()
    assert len(cached(tmp_path, Stamped(4), Doubler())) == 4


def test_contents_that_changed_under_their_stamp_are_told_with_the_command_to_run(tmp_path: Path) -> None:
    class Frozen(Stamped):
        def stamp(self, index: int) -> str:
            return str(index)

    place, source = tmp_path / "with a space", Frozen(3)
    cached(place, source, Doubler())
    source.captions[1] = "another"
    (place / "weights").write_bytes(b"other weights")
    with pytest.raises(TrainingError, match="sample id-1 is not what the cache remembers") as caught:
        cached(place, source, Doubler())
    command = str(caught.value).partition("run ")[2].partition(" and start")[0]
    assert command == f"rm '{place / 'cache'}'/*.npy"
    subprocess.run(command, shell=True, check=True)
    assert cached(place, source, Doubler())[1]["kept"]("caption")["length"] == 7


def test_folder_that_is_not_shared_is_refused_on_all_ranks(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "1").mkdir()
    found = two(lambda world: cached(tmp_path / str(world.rank), Samples(4), Doubler(), world))
    assert all(isinstance(error, UserError) and "not the same folder" in str(error) for error in found), found


def test_processes_wait_for_a_disk_that_lists_files_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "PAUSE", 0.0)

    def meet(late: int) -> object:
        def work(world: Any) -> int:
            looks = iter([np.arange(2) + (world.rank and turn < late) for turn in range(place.TRIES)])
            return int(Place(world, 1).agree(lambda: next(looks), lambda found: found)[0])

        return two(work)

    assert meet(late=3) == [0, 0]
    never = meet(late=place.TRIES)
    assert all(isinstance(error, TrainingError) for error in never), never


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from fake import Doubler, Stamped, cached
from mindloom_cache import store
store.ENTRIES = 4

class Slow(Doubler):
    def encode(self, part, rows):
        time.sleep(0.05)
        return super().encode(part, rows)

cached(Path(sys.argv[2]), Stamped(40), Slow(), batch_size=1)
"""


def test_killed_fill_keeps_what_was_written(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "0"},
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("cache/*/*.safetensors"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    again = Doubler()
    found = cached(tmp_path, Stamped(40), again, batch_size=1)
    assert 0 < again.encoded <= 80 - 12
    assert [int(found[index]["kept"]("caption")["length"]) for index in (0, 39)] == [8, 9]
