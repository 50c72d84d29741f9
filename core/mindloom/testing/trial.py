"""A run that is looked at step by step, and where two of them differ."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import Arrays, Snapshot
from ..plugin import Plugin, hookimpl
from ..snapshots import join, split
from .fitting import Fitted, train
from .watching import Recorder


class Witness(Recorder):
    """Reads the loss of every dispatch, and every checkpoint once it is durable."""

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.seen: dict[int, float] = {}
        self.sizes: list[int] = []
        self.logged: dict[int, dict[str, float]] = {}
        self.snapshots: dict[int, Snapshot] = {}

    @hookimpl
    def on_step_end(self, run: Any, result: Any) -> None:
        """Note the loss of the dispatch's last step."""
        self.seen[run.step] = float(result.loss.asnumpy())
        self.sizes.append(result.n)

    @hookimpl
    def on_log(self, run: Any, record: Any) -> None:
        """Keep what was logged at a step."""
        super().on_log(run, record)
        self.logged.setdefault(record.step, {}).update(record)

    @hookimpl
    def on_checkpoint(self, run: Any, path: Any) -> None:
        """Read it back."""
        self.snapshots[run.saved_step] = run.checkpointer.load(path)


@dataclass(frozen=True)
class Trial:
    """What a run did.

    Attributes:
        fitted: what ``fit`` returns.
        losses: step -> loss, of the last step of every dispatch.
        sizes: steps of every dispatch.
        logged: step -> what was logged there.
        end: the last checkpoint.
    """

    fitted: Fitted
    losses: dict[int, float]
    sizes: list[int]
    logged: dict[int, dict[str, float]]
    end: Snapshot


def trial(folder: Path, classes: Mapping[str, type[Plugin]], *settings: Mapping[str, Any]) -> Trial:
    """Run with these plugins, in this order, of which ``recorder`` is the witness."""
    fitted = train(folder, classes, *settings)
    witness = fitted.plugins["recorder"]
    assert isinstance(witness, Witness)
    assert witness.snapshots, "the run left no checkpoint: who makes the checkpointer must save at the end"
    return Trial(fitted, witness.seen, witness.sizes, witness.logged, list(witness.snapshots.values())[-1])


def difference(one: Trial, other: Trial, name: str, volatile: Collection[str] = ()) -> str:
    """Say where two runs differ in what they have in common, or nothing if they agree bit for bit.

    Compared are losses, weights and the optimizer's state, and what the plugin ``name`` keeps as its state and logged.

    Args:
        volatile: names of the plugin's metrics and entries of its state that may differ.
    """
    for step in sorted(one.losses.keys() & other.losses.keys()):
        if one.losses[step] != other.losses[step]:
            return f"the loss of step {step} is {other.losses[step]!r} instead of {one.losses[step]!r}"
    found = arrays_differ(weights(one.end), weights(other.end))
    if found:
        return found
    found = state_differs(*(state_of(run.end, name, volatile) for run in (one, other)))
    if found:
        return found
    for step in sorted(one.logged.keys() & other.logged.keys()):
        logged = [own(run.logged[step], name, volatile) for run in (one, other)]
        if dumped(logged[0]) != dumped(logged[1]):
            return f"at step {step} it logged {logged[1]} instead of {logged[0]}"
    return ""


def weights(snapshot: Snapshot) -> Arrays:
    """Every array of a checkpoint but those of plugins' states, under the name of its group and its own."""
    groups = {group: found for group, found in snapshot.arrays.items() if group != "plugins"}
    return {f"{group} {key}": array for group, found in groups.items() for key, array in found.items()}


def arrays_differ(one: Arrays, other: Arrays) -> str:
    """Say which array differs first, if one does."""
    if one.keys() != other.keys():
        return f"only one of them has {', '.join(sorted(one.keys() ^ other.keys()))}"
    for key, array in one.items():
        if array.shape != other[key].shape or array.dtype != other[key].dtype:
            return f"{key} is {other[key].dtype} {other[key].shape} instead of {array.dtype} {array.shape}"
        if array.tobytes() != other[key].tobytes():
            return f"{key} differs in {int((array != other[key]).sum())} of {array.size} numbers"
    return ""


def state_of(snapshot: Snapshot, name: str, volatile: Collection[str] = ()) -> dict[str, Any]:
    """The state of a plugin, as a checkpoint holds it."""
    state = join(snapshot.meta["plugins"].get(name, {}), snapshot.arrays["plugins"])
    return {key: value for key, value in state.items() if key not in volatile}


def state_differs(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Say how the second state differs from the first, if it does.

    Raises:
        TrainingError: one of them cannot be saved.
    """
    arrays: tuple[Arrays, Arrays] = {}, {}
    texts = [dumped(split(state, "state", found)) for state, found in zip((one, other), arrays, strict=True)]
    return f"its state is {other} instead of {one}" if texts[0] != texts[1] else arrays_differ(*arrays)


def own(record: Mapping[str, float], name: str, volatile: Collection[str]) -> dict[str, float]:
    """What a plugin contributed to a record."""
    mine = {key.removeprefix(f"{name}/"): value for key, value in record.items() if key.startswith(f"{name}/")}
    return {key: value for key, value in mine.items() if key not in volatile}


def dumped(value: Any) -> str:
    """A text that is equal for equal values, NaN among them."""
    return json.dumps(value, sort_keys=True)
