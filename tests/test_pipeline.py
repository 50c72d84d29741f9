"""The pipeline: who gets which sample, and that broken ones are replaced alike everywhere."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mindloom import UserError
from mindloom.config import build
from mindloom.data.pipeline import Batch, Pipeline
from mindloom.data.quarantine import Quarantine
from mindloom.formats import Source
from mindloom.layers import Layers
from mindloom.plan import Plan
from mindloom.testing import Numbers
from mindloom.world import World


class Identify:
    """A task whose rows tell which sample they are, and what was drawn for them."""

    columns = ("number", "noise")

    def transform(self, sample: Any, draw: Any) -> dict[str, np.ndarray]:
        return {"number": np.array(sample["number"]), "noise": draw("noise").standard_normal(3)}


class Damaged(Numbers):
    """Some samples cannot be read."""

    def __init__(self, count: int, broken: Sequence[int], error: Exception) -> None:
        super().__init__(count)
        self.broken, self.error = broken, error

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index in self.broken:
            raise self.error
        return super().__getitem__(index)


def pipeline(
    source: Source | int = 20,
    *,
    rank: int = 0,
    size: int = 1,
    step: int = 0,
    position: int | None = None,
    folder: Path | None = None,
    **settings: Any,
) -> Pipeline:
    """A pipeline over 20 samples as one process of a run that starts at ``step`` sees it."""
    layers = Layers()
    layers.set({"per_batch_size": 4, **settings}, "test")
    cfg = build(layers, {})
    batch = cfg.per_batch_size * cfg.gradient_accumulation_steps * size
    run: Any = SimpleNamespace(
        cfg=cfg,
        path=folder,
        log=logging.getLogger("mindloom"),
        world=World(rank, size),
        task=Identify(),
        first_step=step,
        first_position=step * batch if position is None else position,
        global_batch=batch,
    )
    found = Numbers(source) if isinstance(source, int) else source
    return Pipeline(run, found, len(found), lambda: Plan(len(found), cfg.seed, cfg.data.shuffle))


def numbers(batch: Batch) -> list[int]:
    return batch.columns[0].ravel().tolist()


def taken(pipe: Pipeline, first: int, last: int) -> list[list[int]]:
    return [numbers(batch) for batch in pipe.batches(first, last)]


def flat(lists: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(lists))


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        a.step == b.step and all((x == y).all() for x, y in zip(a.columns, b.columns, strict=True))
        for a, b in zip(one, other, strict=True)
    )


def test_every_epoch_takes_every_sample_once_in_another_order() -> None:
    steps = taken(pipeline(), 0, 10)
    epochs = [flat(steps[:5]), flat(steps[5:])]
    assert [sorted(epoch) for epoch in epochs] == [list(range(20))] * 2
    assert epochs[0] != epochs[1]


def test_batches_cross_epochs_without_losing_samples() -> None:
    order = flat(taken(pipeline(7), 0, 14))
    assert [sorted(order[i : i + 7]) for i in range(0, 56, 7)] == [list(range(7))] * 8


def test_columns_have_batch_shape_and_an_axis_of_micro_batches_only_with_accumulation() -> None:
    batch = next(pipeline().batches(0, 1))
    assert [column.shape for column in batch.columns] == [(4,), (4, 3)]
    batch = next(pipeline(gradient_accumulation_steps=3).batches(0, 1))
    assert [column.shape for column in batch.columns] == [(3, 4), (3, 4, 3)]


@pytest.mark.parametrize("micros", [1, 3])
def test_two_processes_see_together_what_one_with_twice_the_batch_sees(micros: int) -> None:
    whole = list(pipeline(gradient_accumulation_steps=micros).batches(0, 6))
    parts = [
        list(pipeline(rank=rank, size=2, per_batch_size=2, gradient_accumulation_steps=micros).batches(0, 6))
        for rank in range(2)
    ]
    for step in range(6):
        halves = [part[step].columns for part in parts]
        for column in range(2):
            joined = np.concatenate([half[column] for half in halves], axis=-1 if column == 0 else -2)
            np.testing.assert_array_equal(joined, whole[step].columns[column])


def test_processes_never_share_a_position() -> None:
    steps = [taken(pipeline(24, rank=rank, size=3, per_batch_size=2), 0, 4) for rank in range(3)]
    assert sorted(flat(flat(rank) for rank in steps)) == list(range(24))


@pytest.mark.parametrize("start", [1, 3, 7])
def test_a_resumed_run_takes_the_same_batches(start: int) -> None:
    whole = list(pipeline().batches(0, 9))
    assert same(list(pipeline(step=start).batches(start, 9)), whole[start:])


def test_a_run_resumed_on_more_processes_goes_on_where_it_stopped() -> None:
    before = flat(taken(pipeline(), 0, 2))
    after = [taken(pipeline(rank=rank, size=2, step=2, position=8, per_batch_size=3), 2, 4) for rank in range(2)]
    rest = [number for step in range(2) for rank in range(2) for number in after[rank][step]]
    assert sorted(before + rest) == list(range(20))


@pytest.mark.parametrize(("workers", "prefetch"), [(1, 1), (1, 8), (4, 1), (7, 3)])
def test_workers_and_prefetching_change_nothing(workers: int, prefetch: int) -> None:
    broken = Damaged(20, [3, 4, 11], ValueError("bad"))
    plain = list(pipeline(broken, data={"max_broken": 1.0}).batches(0, 8))
    other = pipeline(broken, data={"max_broken": 1.0, "workers": workers, "prefetch": prefetch})
    assert same(list(other.batches(0, 8)), plain)


def test_a_consumer_that_stops_early_leaves_no_threads_at_work() -> None:
    import threading

    batches = pipeline().batches(0, 1000)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mindloom-data")]


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("odd"), KeyError("caption")])
def test_broken_samples_give_way_to_the_next_good_one_and_are_counted_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    good = taken(pipeline(), 0, 15)
    pipe = pipeline(Damaged(20, [3, 4], error), data={"max_broken": 0.1})
    mended = taken(pipe, 0, 15)
    replaced, order = flat(mended), flat(good)
    for place, number in enumerate(order):
        if number not in (3, 4):
            assert replaced[place] == number
        else:
            epoch = order[place // 20 * 20 : (place // 20 + 1) * 20]
            later = [epoch[(place % 20 + k) % 20] for k in range(20)]
            assert replaced[place] == next(n for n in later if n not in (3, 4))
    assert pipe.quarantine
    assert len(pipe.quarantine.reasons) == 2
    assert len([r for r in caplog.records if "skipped broken sample" in r.getMessage()]) == 2


def test_all_processes_and_resumed_runs_replace_broken_samples_alike() -> None:
    source = Damaged(20, [0, 1, 2, 9], OSError("gone"))
    lenient = {"max_broken": 1.0}
    whole = list(pipeline(source, data=lenient).batches(0, 10))
    assert same(list(pipeline(source, step=4, data=lenient).batches(4, 10)), whole[4:])
    halves = [taken(pipeline(source, rank=rank, size=2, per_batch_size=2, data=lenient), 0, 10) for rank in range(2)]
    assert [a + b for a, b in zip(*halves, strict=True)] == [numbers(batch) for batch in whole]


def test_too_many_broken_samples_stop_the_run_naming_one_and_the_setting() -> None:
    pipe = pipeline(Damaged(20, [3, 4, 5], OSError("gone")), data={"max_broken": 0.1})
    with pytest.raises(
        UserError, match=r"3 samples are broken, more than the \d+ allowed, the last one #[345]"
    ) as caught:
        taken(pipe, 0, 10)
    assert caught.value.setting == "data.max_broken"


@pytest.mark.parametrize(
    ("samples", "share", "allowed"), [(12, 0.05, 1), (20, 0.05, 1), (21, 0.05, 2), (100, 0.07, 7), (12, 0, 0)]
)
def test_the_share_of_broken_samples_is_rounded_up_but_none_is_none(samples: int, share: float, allowed: int) -> None:
    assert Quarantine(None, samples, share, 0, logging.getLogger("mindloom")).allowed == allowed


def test_a_dataset_without_a_readable_sample_is_refused_even_if_all_may_be_broken() -> None:
    with pytest.raises(UserError, match="no sample of the dataset can be read"):
        taken(pipeline(Damaged(20, range(20), OSError("gone")), data={"max_broken": 1.0}), 0, 1)


def test_an_error_that_is_no_broken_sample_stops_the_run() -> None:
    with pytest.raises(TypeError, match="a bug"):
        taken(pipeline(Damaged(20, [5], TypeError("a bug"))), 0, 10)


class Pictures(Numbers):
    """Samples with pictures, one of them damaged."""

    def __init__(self, picture: bytes) -> None:
        super().__init__(20)
        self.picture = picture

    def __getitem__(self, index: int) -> dict[str, Any]:
        data = self.picture[:60] if index == 5 else self.picture
        return {**super().__getitem__(index), "image": data}


def test_a_damaged_picture_is_named_by_its_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    pipe = pipeline(Pictures((tmp_path / "red.png").read_bytes()))
    assert 5 not in flat(taken(pipe, 0, 5))
    assert pipe.quarantine
    assert list(pipe.quarantine.reasons) == ["sample-5"]
    assert "skipped broken sample sample-5 (1 so far): not a readable picture" in caplog.text
