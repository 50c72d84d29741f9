"""``--trace-plugins`` in real runs: lines, self times, failures, the table; and that it changes nothing about a run."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom import Plugin, TrainingError, hookimpl
from mindloom.checkpoint import Snapshot
from mindloom.layers import Layers
from mindloom.registry import Registry
from mindloom.session import configure, execute
from mindloom.testing import Recorder, Shelf, Toy

LINE = re.compile(r"trace step (\d+) (first dispatch|\S+) (\S+(?: \(wraps\))?) -> (.+) ([\d.]+) ms$")
FIRST, DISPATCH = "first dispatch", "dispatch"
ROW = re.compile(r"(\S+) +(\S.*?) {2,}(\d*) *([\d.]+) +(?:[\d.]+ +)?([\d.]+)$")


class Witness(Plugin):
    """Notes what it is asked, a wrapped hook when it is done with it."""

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.heard: list[tuple[int, str]] = []
        self.closed_stepper = 0

    def note(self, run: Any, what: str) -> None:
        self.heard.append((run.step if run else 0, what))

    @hookimpl
    def on_configure(self) -> None:
        """Before there is a run."""
        self.note(None, "on_configure")

    @hookimpl
    def add_formats(self) -> dict[str, Any]:
        """Inside another call."""
        self.note(None, "add_formats")
        return {}

    @hookimpl
    def edit_model(self, run: Any) -> list[Any]:
        """A list."""
        self.note(run, "edit_model")
        return []

    @hookimpl(wrapper=True)
    def make_step(self, run: Any) -> Generator[None, Any, Any]:
        """A wrapper."""
        step = yield
        self.note(run, "make_step")
        return step

    @hookimpl(wrapper=True)
    def make_stepper(self, run: Any) -> Generator[None, Any, Any]:
        """A wrapper whose answer goes on working."""
        inner = yield
        self.note(run, "make_stepper")

        def dispatches() -> Iterator[Any]:
            try:
                yield from inner
            finally:
                self.closed_stepper += 1

        return dispatches()

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """At run time."""
        self.note(run, "on_step_end")

    @hookimpl
    def add_metrics(self, run: Any) -> dict[str, float]:
        """A dict."""
        self.note(run, "add_metrics")
        return {"a": 1.0, "b": 2.0}

    @hookimpl
    def on_log(self, run: Any) -> None:
        """Through a caller for some plugins only."""
        self.note(run, "on_log")

    def state_dict(self) -> dict[str, Any]:
        self.heard.append((4, "state_dict"))
        return {"heard": len(self.heard)}

    def close(self) -> None:
        self.heard.append((4, "close"))


class Bad(Plugin):
    """Fails in the second step."""

    @hookimpl
    def on_step_end(self) -> None:
        """Do nothing."""

    @hookimpl
    def on_log(self, run: Any) -> None:
        """Fail."""
        if run.step == 2:
            raise ValueError("too bad")


def train(folder: Path, trace: bool, *classes: type[Plugin]) -> tuple[str, Registry]:
    """Train the toy task for four steps; return what ``run.log`` says, and the registry."""
    folder.mkdir(exist_ok=True)
    layers = Layers()
    layers.set({"max_steps": 4, "per_batch_size": 2, "log_interval": 2, "data": {"path": str(folder)}}, "test")
    layers.set({"save_path": str(folder / "run"), "save_path_with_time": False, "optim": {"lr": 0.01}}, "test")
    logging.getLogger("mindloom").setLevel(logging.INFO)
    cfg, registry = configure(layers, {found.__name__.lower(): found for found in (Toy, *classes)}, trace)
    try:
        execute(cfg, registry)
    except TrainingError:
        assert Bad in classes
    return (folder / "run" / "run.log").read_text(), registry


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Registry]:
    return train(tmp_path_factory.mktemp("traced"), True, Recorder, Shelf, Witness)


def calls(text: str) -> list[tuple[str, ...]]:
    """(step, what, who, outcome, milliseconds) of each line."""
    return [found.groups() for line in text.splitlines() if (found := LINE.search(line))]


def rows(text: str) -> dict[tuple[str, str], tuple[int, float, float]]:
    """(who, what) -> calls, seconds, share of the table at the end."""
    table = text[text.rindex("share %") :].splitlines()[2:-1]
    found = [ROW.match(line) for line in table]
    assert all(found), table
    return {(row[1], row[2]): (int(row[3] or 0), float(row[4]), float(row[5])) for row in found if row}


def test_every_call_of_a_plugin_has_a_line_in_the_order_of_the_calls(traced: tuple[str, Registry]) -> None:
    text, registry = traced
    witness = registry.plugins["witness"]
    assert isinstance(witness, Witness)
    told = [(int(step), what) for step, what, who, *_ in calls(text) if who.startswith("witness")]
    assert [(step, what) for step, what in told if what not in (FIRST, DISPATCH)] == witness.heard
    assert [step for step, what in told if what in (FIRST, DISPATCH)] == [0, 1, 2, 3]
    assert witness.closed_stepper == 1


def test_lines_say_what_sort_of_thing_was_answered(traced: tuple[str, Registry]) -> None:
    said = {(what, who): outcome for _, what, who, outcome, _ in calls(traced[0])}
    assert said["on_log", "witness"] == "None"
    assert said["add_metrics", "witness"] == "dict of a, b"
    assert said["add_formats", "witness"] == "dict of nothing"
    assert said["edit_model", "witness"] == "list of 0"
    assert said["make_step", "witness (wraps)"] == said["make_step", "core"] == "TrainStep"
    assert said["save", "shelf"] == "PosixPath"


def test_the_table_divides_the_whole_time_and_counts_what_the_lines_told(traced: tuple[str, Registry]) -> None:
    table = rows(traced[0])
    assert sum(share for _, _, share in table.values()) == pytest.approx(100, abs=0.1)
    told = Counter((who.removesuffix(" (wraps)"), what) for _, what, who, *_ in calls(traced[0]))
    counted = {call: count for call, (count, *_) in table.items()}
    assert counted.pop(("core", "everything else")) == 0
    assert counted.pop(("core", "printing this trace")) == sum(told.values())
    assert counted == told
    assert [told[who, what] for who in ("core", "witness") for what in (FIRST, DISPATCH)] == [1, 3, 1, 3]


def test_a_trace_changes_no_bit_of_what_is_trained(traced: tuple[str, Registry], tmp_path: Path) -> None:
    text, plain = train(tmp_path, False, Recorder, Shelf, Witness)
    assert not calls(text)
    one, other = traced[1].plugins["recorder"], plain.plugins["recorder"]
    assert isinstance(one, Recorder)
    assert isinstance(other, Recorder)
    assert one.losses == other.losses
    assert len(one.losses) == 2
    assert one.weights.keys() == other.weights.keys()
    assert all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)


def test_a_failing_hook_is_told_and_the_table_comes_all_the_same(tmp_path: Path) -> None:
    text, _ = train(tmp_path, True, Recorder, Bad)
    said = [(int(step), what, outcome) for step, what, who, outcome, _ in calls(text) if who.startswith("bad")]
    assert said == [
        (1, "on_step_end", "None"),
        (2, "on_step_end", "None"),
        (2, "on_log", "raised ValueError"),
    ]
    assert sum(share for _, _, share in rows(text).values()) == pytest.approx(100, abs=0.1)
    assert ("core", "dispatch") in rows(text)


def test_the_flag_traces_runs_that_end_before_they_begin(
    command: Callable[..., tuple[int, str]],
    plugin_file: Callable[[str, str], type[Plugin]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    plugin_file(
        "picky", "class Picky(Plugin):\n    @hookimpl\n    def on_configure(self):\n        raise UserError('no')"
    )
    with caplog.at_level(logging.INFO):
        assert command("--plugins", "toy,./picky.py", "data.path=.", "--trace-plugins") == (2, "mindloom: error: no")
    assert "trace step 0 on_configure picky -> raised UserError" in caplog.text
    assert ("core", "everything else") in rows(caplog.text)
    caplog.clear()
    assert command("--plugins", "toy,./picky.py", "data.path=.")[0] == 2
    assert "trace" not in caplog.text


class Behind(Shelf):
    """Saves in a thread, after each of the first two steps, and takes its time."""

    background = True

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Ask."""
        if run.step < 3:
            run.request_checkpoint(by=self.name)

    def save(self, snapshot: Snapshot, run_folder: Path) -> Path:
        time.sleep(0.3)
        return super().save(deepcopy(snapshot), run_folder)


def test_what_a_thread_takes_is_told_apart_and_is_not_the_loops_time(tmp_path: Path) -> None:
    text, _ = train(tmp_path, True, Recorder, Behind)
    head, _, tail = text[text.rindex("share %") :].partition("\nall ")
    row = re.search(r"behind \(behind\) +save +2 +([\d.]+) +([\d.]+) *$", tail, re.MULTILINE)
    assert row is not None
    assert 0.6 <= float(row[1]) < 5
    assert float(row[2]) == pytest.approx(1000 * float(row[1]) / 2, abs=1)
    # The last one is the loop's own: nothing goes on behind the end.
    assert re.search(r"^behind +save +1 ", head, re.MULTILINE)
    shares = [float(line.split()[-1]) for line in head.splitlines()[2:]]
    assert sum(shares) == pytest.approx(100, abs=0.1)
    told = [line for line in text.splitlines() if " save behind (behind) -> PosixPath " in line]
    assert len(told) == 2
