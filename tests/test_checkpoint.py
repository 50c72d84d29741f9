"""What a checkpoint holds and refuses: never NaN, every plugin's state, and only what fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom import Plugin, TrainingError, UserError, hookimpl
from mindloom.run import Run
from mindloom.testing import Fitted, Shelf, Toy, fit


class Poisoned(Toy):
    """A toy whose third sample position breaks the loss."""

    @hookimpl
    def make_task(self) -> Any:
        task = super().make_task()
        good = task.transform

        def transform(sample: Any, draw: Any) -> dict[str, np.ndarray]:
            row = dict(good(sample, draw))
            if sample["number"] == 5:
                row["targets"] = row["targets"] * np.float32("nan")
            return row

        task.transform = transform  # type: ignore[method-assign]
        return task


def test_a_nan_loss_stops_the_run_in_one_line_and_saves_nothing(tmp_path: Path) -> None:
    class Eager(Plugin):
        @hookimpl
        def on_step_end(self, run: Run) -> None:
            run.request_checkpoint("eager")

    with pytest.raises(TrainingError, match=r"^the loss is nan at step \d+: lower optim.lr") as caught:
        fit(
            tmp_path,
            {"toy": Poisoned, "shelf": Shelf, "eager": Eager},
            steps=9,
            per_batch_size=1,
            data={"shuffle": False},
        )
    assert caught.value.exit_code == 1
    kept = sorted(path.name for path in Shelf.kept if path.parent == tmp_path / "run")
    assert kept == [f"step-{step:08d}" for step in range(1, 6)]


def test_weights_with_nan_are_not_saved_even_if_no_loss_was_read(tmp_path: Path) -> None:
    class Eager(Plugin):
        @hookimpl
        def on_step_end(self, run: Run) -> None:
            run.request_checkpoint("eager")

    with pytest.raises(TrainingError, match=r"not saved: \w+ holds NaN or infinity at step 6"):
        fit(
            tmp_path,
            {"toy": Poisoned, "shelf": Shelf, "eager": Eager},
            steps=9, per_batch_size=1, log_interval=9, data={"shuffle": False},
        )  # fmt: skip


class Counter(Plugin):
    """Counts steps, with numbers and arrays in its state."""

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.count, self.history = 0, np.zeros(0, np.int64)

    @hookimpl
    def on_step_end(self, run: Run) -> None:
        self.count += 1
        self.history = np.append(self.history, run.step)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "nested": {"history": self.history}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count, self.history = state["count"], state["nested"]["history"]


def test_plugins_states_survive_a_resume_under_their_names(tmp_path: Path) -> None:
    fit(tmp_path, {"shelf": Shelf, "counter": Counter}, steps=5, stop_at=2)
    fitted: Fitted = fit(tmp_path, {"shelf": Shelf, "counter": Counter, "new": Counter}, steps=5, resume="latest")
    old, new = fitted.plugins["counter"], fitted.plugins["new"]
    assert isinstance(old, Counter)
    assert isinstance(new, Counter)
    assert (old.count, old.history.tolist()) == (5, [1, 2, 3, 4, 5])
    assert (new.count, new.history.tolist()) == (3, [3, 4, 5])


def test_states_of_plugins_that_are_off_wait_for_them(tmp_path: Path) -> None:
    fit(tmp_path, {"shelf": Shelf, "counter": Counter}, steps=6, stop_at=2)
    fit(tmp_path, [Shelf], steps=6, stop_at=4, resume="latest")
    fitted = fit(tmp_path, {"shelf": Shelf, "counter": Counter}, steps=6, resume="latest")
    back = fitted.plugins["counter"]
    assert isinstance(back, Counter)
    assert (back.count, back.history.tolist()) == (4, [1, 2, 5, 6])


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a": {"b": {1, 2}}}, "'a/b' of its state_dict is neither JSON nor an array of numbers: {1, 2}"),
        ({"a": [np.zeros(2)]}, r"'a' of its state_dict is neither .*: \[array"),
        ({"a": np.array(["text"])}, "'a' of its state_dict is neither"),
        ({"a": {1: 2}}, "'a' of its state_dict is neither"),
        (Path("x"), "its state_dict is neither"),
    ],
)
def test_a_state_that_cannot_be_saved_names_its_plugin_and_place(tmp_path: Path, state: Any, words: str) -> None:
    class Odd(Plugin):
        def state_dict(self) -> dict[str, Any]:
            return state  # type: ignore[no-any-return]

    with pytest.raises(TrainingError, match=f"not saved: plugin 'odd': {words}"):
        fit(tmp_path, {"shelf": Shelf, "odd": Odd}, steps=1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"plugins": {"toy": {"width": 5}}}, r"does not fit this run: \w+(\.\w+)* is \(1, 4\), the run needs \(1, 5\)"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, settings: Any, words: str) -> None:
    fit(tmp_path, [Shelf], steps=5, stop_at=2)
    with pytest.raises(UserError, match=words):
        fit(tmp_path, [Shelf], steps=5, resume="latest", **settings)


def test_a_checkpoint_that_a_plugin_altered_is_refused_without_it(tmp_path: Path) -> None:
    fit(tmp_path, [Shelf], steps=5, stop_at=2)
    (snapshot,) = [snapshot for path, snapshot in Shelf.kept.items() if path.parent == tmp_path / "run"]
    snapshot.meta["altered_by"] = ["swap"]
    with pytest.raises(UserError, match="was made with swap, which altered the model: resume with --plugins swap"):
        fit(tmp_path, [Shelf], steps=5, resume="latest")
