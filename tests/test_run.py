"""A run's state and records: where it is, when a log is due, and what a record holds and whom it reaches."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mindloom import Plugin, hookimpl
from mindloom.records import Record
from mindloom.run import Run
from mindloom.step import StepResult
from mindloom.testing import Shelf, fit
from mindloom.world import World


def test_run_state_says_where_a_run_is() -> None:
    cfg = SimpleNamespace(max_steps=10, stop_at=0, per_batch_size=2, gradient_accumulation_steps=3, seed=1)
    run = Run(cfg, None, None, None)  # type: ignore[arg-type]
    run.world = World(0, 2)
    run.step, run.first_step, run.first_position = 5, 3, 100
    assert (run.global_batch, run.position, run.last_step, run.finished) == (12, 124, 10, False)
    assert run.state() == {"step": 5, "position": 124, "world_size": 2, "seed": 1}


@pytest.mark.parametrize(
    ("every", "n", "steps"),
    [
        (1, 1, [1, 2, 3, 4, 5, 6]),
        (3, 1, [3, 6]),
        (4, 3, [6, 9, 12, 18]),
        (3, 7, [7, 14, 21]),
        (10, 4, [12, 20, 32]),
        (0, 1, []),
    ],
)
def test_due_means_that_a_multiple_was_crossed_for_any_dispatch_size(every: int, n: int, steps: list[int]) -> None:
    run = Run(None, None, None, None)  # type: ignore[arg-type]
    due = []
    while run.step < (steps[-1] if steps else 10):
        run.step += n
        if run.due(every, n):
            due.append(run.step)
    assert due == steps


def test_metrics_are_prefixed_with_their_plugin_and_asked_for_only_when_a_log_is_due(tmp_path: Path) -> None:
    class Meter(Plugin):
        asked = 0

        @hookimpl
        def add_metrics(self, result: StepResult) -> dict[str, float]:
            self.asked += 1
            return {"asked": self.asked, "twice": 2 * float(result.loss.asnumpy())}

    fitted = fit(tmp_path, {"m": Meter, "n": Meter}, steps=6, log_interval=2)
    assert [record["m/asked"] for record in fitted.records] == [1, 2, 3]
    assert all(record["n/twice"] == pytest.approx(2 * record["loss"]) for record in fitted.records)
    assert [record["epoch"] for record in fitted.records] == pytest.approx([4 / 12, 8 / 12, 1.0])
    assert "images_per_second" in fitted.records[-1]


def test_what_is_published_is_logged_under_the_step_in_which_it_was(tmp_path: Path) -> None:
    seen: list[tuple[int, dict[str, float], list[str], list[str]]] = []

    class Publisher(Plugin):
        @hookimpl
        def on_train_start(self, run: Run) -> None:
            run.publish(texts={"hello": "world"})

        @hookimpl
        def on_step_end(self, run: Run) -> None:
            if run.step == 1:
                run.publish(values={"mine": 7.0}, images={"picture": np.zeros((2, 2, 3), np.uint8)})

        @hookimpl
        def on_train_end(self, run: Run) -> None:
            run.publish(values={"late": 1.0})

        @hookimpl
        def on_log(self, record: Record) -> None:
            seen.append((record.step, dict(record), list(record.images), list(record.texts)))

    fit(tmp_path, [Publisher], steps=4, log_interval=2)
    assert [(step, images, texts) for step, _, images, texts in seen] == [
        (0, [], ["hello"]),
        (1, ["picture"], []),
        (2, [], []),
        (4, [], []),
        (4, [], []),
    ]
    assert seen[1][1] == {"mine": 7.0}
    assert "mine" not in seen[2][1]
    assert seen[4][1] == {"late": 1.0}


def test_loggers_hear_on_the_main_process_only_unless_they_want_all(tmp_path: Path) -> None:
    heard: list[str] = []

    class Second(Plugin):
        @hookimpl
        def make_world(self) -> World:
            return World(rank=1, size=2)

        @hookimpl
        def on_log(self) -> None:
            heard.append(self.name)

    class Listener(Plugin):
        ranks = "all"

        @hookimpl
        def on_log(self) -> None:
            heard.append(self.name)

    (tmp_path / "run").mkdir()
    fitted = fit(tmp_path, [Second, Listener, Shelf], steps=1)
    assert heard == ["listener"]
    assert not list(fitted.path.iterdir())
    assert not [path for path in Shelf.kept if path.parent == fitted.path]
