"""Streams in real runs: divided, resumed and mended without losing or repeating a sample."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mindloom import TrainingError, UserError
from mindloom.config import build
from mindloom.data.pipeline import Pipeline
from mindloom.formats import RawSample, SampleError
from mindloom.layers import Layers
from mindloom.world import World


class Line:
    """Numbers in order, shifted by the epoch; counts what is read and what is open."""

    def __init__(self, count: int, broken: tuple[int, ...] = (), cut: int | None = None) -> None:
        self.count, self.broken, self.cut = count, broken, cut
        self.reads: list[tuple[int, int, int]] = []
        self.given = self.open = 0
        self.closed = False

    def __len__(self) -> int:
        return self.count

    def read(self, epoch: int, start: int, stop: int) -> Iterator[RawSample | SampleError]:
        self.reads.append((epoch, start, stop))
        self.open += 1
        try:
            for place in range(start, min(stop, self.cut or stop)):
                number = (place + epoch) % self.count
                self.given += 1
                if number in self.broken:
                    yield SampleError("torn", f"n{number}", "somewhere")
                else:
                    yield {"id": f"n{number}", "number": number}
        finally:
            self.open -= 1

    def close(self) -> None:
        self.closed = True


class Identify:
    """A task whose rows tell which sample they are and what was drawn; some numbers it cannot use."""

    columns = ("number", "noise")
    unusable: tuple[int, ...] = ()

    def transform(self, sample: Any, draw: Any) -> dict[str, np.ndarray]:
        if sample["number"] in self.unusable:
            raise ValueError("cannot be used")
        return {"number": np.array(sample["number"]), "noise": draw("noise").standard_normal(2)}


def pipeline(line: Line, rank: int = 0, size: int = 1, batch: int = 4, unusable: tuple[int, ...] = ()) -> Pipeline:
    layers = Layers()
    layers.set({"per_batch_size": batch, "data": {"max_broken": 0.9}}, "test")
    task = Identify()
    task.unusable = unusable
    run: Any = SimpleNamespace(
        cfg=build(layers, {}),
        log=logging.getLogger("mindloom"),
        path=None,
        world=World(rank, size),
        task=task,
        first_step=0,
        first_position=0,
        global_batch=batch * size,
    )
    return Pipeline(run, line, len(line), None)


def numbers(pipe: Pipeline, first: int, last: int) -> list[int]:
    return [number for batch in pipe.batches(first, last) for number in batch.columns[0].ravel().tolist()]


def test_one_process_takes_the_stream_as_it_comes() -> None:
    line = Line(10)
    assert numbers(pipeline(line), 0, 5) == [*range(10), *((place + 1) % 10 for place in range(10))]
    assert line.open == 0


@pytest.mark.parametrize("size", [2, 3])
def test_processes_divide_every_epoch(size: int) -> None:
    taken = [numbers(pipeline(Line(24), rank, size), 0, 12 // size) for rank in range(size)]
    assert Counter(number for own in taken for number in own) == dict.fromkeys(range(24), 2)
    assert len({len(own) for own in taken}) == 1


def test_a_resumed_run_reads_on_from_where_it_was_and_not_the_epoch_again() -> None:
    whole = pipeline(Line(1000))
    expected = numbers(whole, 0, 110)
    line = Line(1000)
    resumed = pipeline(line)
    resumed.run.first_step, resumed.run.first_position = 100, 400
    resumed.resume(whole.state(400), 400)
    assert numbers(resumed, 100, 110) == expected[400:]
    assert line.reads == [(0, 400, 1000)]
    assert line.given <= 40 + 4


def test_broken_samples_give_way_to_the_next_good_one_in_the_streams_order() -> None:
    line = Line(12, broken=(3, 4, 5, 11))
    pipe = pipeline(line, unusable=(6,))
    taken = numbers(pipe, 0, 3)
    assert taken == [0, 1, 2, 7, 7, 7, 7, 7, 8, 9, 10, 0]
    assert pipe.quarantine
    assert pipe.quarantine.reasons == {"n3": "torn", "n4": "torn", "n5": "torn", "n11": "torn", "n6": "cannot be used"}
    assert line.open == 0


def test_all_processes_and_resumed_runs_replace_broken_samples_alike() -> None:
    broken = (0, 1, 13, 14)
    whole = list(numbers(pipeline(Line(24, broken), 0, 1, 8), 0, 3))
    halves = [numbers(pipeline(Line(24, broken), rank, 2), 0, 3) for rank in range(2)]
    assert sorted(whole) == sorted(halves[0] + halves[1])
    resumed = pipeline(Line(24, broken))
    resumed.run.first_step, resumed.run.first_position = 3, 12
    resumed.resume(pipeline(Line(24, broken)).state(12), 12)
    assert numbers(resumed, 3, 6) == numbers(pipeline(Line(24, broken)), 0, 6)[12:]


def test_a_stream_without_a_single_good_sample_is_refused() -> None:
    pipe = pipeline(Line(6, broken=tuple(range(6))))
    pipe.run.cfg.data.max_broken = 1.0
    with pytest.raises(UserError, match="no sample of the dataset can be read"):
        numbers(pipe, 0, 1)


def test_a_stream_that_ends_early_is_an_error_and_no_hang() -> None:
    with pytest.raises(TrainingError, match="ended after 7 of the 10 samples that it counted"):
        numbers(pipeline(Line(10, cut=7)), 0, 3)


def test_other_data_on_resume_is_told(caplog: pytest.LogCaptureFixture) -> None:
    pipe = pipeline(Line(12))
    pipe.resume(pipeline(Line(10)).state(4), 4)
    assert "the data set has 12 samples, the checkpoint was made with 10" in caplog.text


def test_closing_closes_the_stream() -> None:
    line = Line(3)
    pipeline(line).close()
    assert line.closed
