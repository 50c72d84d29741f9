"""What a checkpoint holds, and how it leaves and enters a run. Writing and finding files is a plugin's business."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .errors import TrainingError, UserError

if TYPE_CHECKING:
    from mindspore import Parameter, nn

    from .run import Run

Arrays = dict[str, np.ndarray]
FORMAT = 1
ARRAY = "__array__"


@dataclass(frozen=True)
class Snapshot:
    """A host copy of everything that a run needs to go on.

    Attributes:
        arrays: group -> name -> array. Groups: ``model`` (names as on disk), ``optimizer`` (all further state of the
            step: moments, counters, loss scale), ``plugins``.
        meta: JSON: counters, versions, plugins' states, and which plugins altered the model.
    """

    arrays: dict[str, Arrays]
    meta: dict[str, Any]


class Checkpointer(Protocol):
    """Writes, finds and reads checkpoints. ``save`` is called on the main process only."""

    def save(self, snapshot: Snapshot, run_folder: Path) -> Path:
        """Write a snapshot so that it is either complete or absent; return its path."""
        ...

    def find(self, what: str, root: Path) -> Path:
        """Resolve ``--resume``: ``latest`` below ``root``, or a checkpoint or run folder.

        Raises:
            UserError: there is none, or it is incomplete.
        """
        ...

    def latest(self, root: Path) -> Path | None:
        """The newest complete checkpoint of the run folder ``root``, or of any run folder directly below it."""
        ...

    def load(self, path: Path) -> Snapshot:
        """Read one back."""
        ...

    def run_folder(self, path: Path) -> Path:
        """The run folder that a checkpoint belongs to."""
        ...


def step_state(step: nn.Cell, model: nn.Cell) -> dict[str, Parameter]:
    """The step's own parameters: what is neither the model's nor empty between steps."""
    from .step import ACCUMULATED

    of_model = {id(param) for param in model.get_parameters()}
    return {
        param.name: param
        for param in step.get_parameters()
        if id(param) not in of_model and not param.name.startswith(ACCUMULATED)
    }


def capture(run: Run, step: nn.Cell) -> Snapshot:
    """Copy the state of a run to the host.

    Raises:
        TrainingError: a weight is not a finite number, so that nothing good gets overwritten.
    """
    model = {name: param.asnumpy().copy() for name, param in run.task.model.parameters_and_names()}
    state = {name: param.asnumpy().copy() for name, param in step_state(step, run.task.model).items()}
    _check_finite(model, run.step)
    arrays: Arrays = {}
    plugins = {name: _split(plugin.state_dict(), name, arrays) for name, plugin in run.plugins.plugins.items()}
    meta = {
        "format": FORMAT,
        **run.state(),
        "versions": versions(),
        "altered_by": run.altered_by,
        "plugins": {name: state for name, state in plugins.items() if state},
    }
    return Snapshot({"model": model, "optimizer": state, "plugins": arrays}, meta)


def _check_finite(arrays: Arrays, step: int) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise TrainingError(f"not saved: {name} holds NaN or infinity at step {step}; earlier checkpoints are kept")


def _split(state: Any, path: str, arrays: Arrays) -> Any:
    """Move the arrays of a plugin's state aside and leave references in their place."""
    if isinstance(state, np.ndarray):
        arrays[path] = state
        return {ARRAY: path}
    if isinstance(state, Mapping):
        return {str(key): _split(value, f"{path}/{key}", arrays) for key, value in state.items()}
    return state


def _join(state: Any, arrays: Arrays) -> Any:
    if isinstance(state, Mapping):
        return arrays[state[ARRAY]] if ARRAY in state else {key: _join(value, arrays) for key, value in state.items()}
    return state


def restore(run: Run, step: nn.Cell, snapshot: Snapshot, path: Path) -> None:
    """Put a snapshot back into a run that was built by the same config.

    Raises:
        UserError: the checkpoint does not fit: other parameters, or a plugin is missing that altered the model.
    """
    meta = snapshot.meta
    missing = [name for name in meta["altered_by"] if name not in run.plugins.plugins]
    if missing:
        raise UserError(
            f"{path} was made with {', '.join(missing)}, which altered the model: "
            f"resume with --plugins {','.join(missing)}",
            setting="resume",
        )
    _fill(dict(run.task.model.parameters_and_names()), snapshot.arrays["model"], path)
    _fill(step_state(step, run.task.model), snapshot.arrays["optimizer"], path)
    run.step = run.first_step = run.saved_step = int(meta["step"])
    run.first_position = int(meta["position"])
    if meta["seed"] != run.cfg.seed:
        run.log.warning(
            "resuming with seed %d, the checkpoint has %d: order and noise differ", run.cfg.seed, meta["seed"]
        )
    for name, plugin in run.plugins.plugins.items():
        if name in meta["plugins"]:
            plugin.load_state_dict(_join(meta["plugins"][name], snapshot.arrays["plugins"]))


def _fill(params: Mapping[str, Parameter], arrays: Arrays, path: Path) -> None:
    import mindspore as ms

    for problem in _misfits(params, arrays):
        raise UserError(
            f"{path} does not fit this run: {problem}: resume with the config it was made with", setting="resume"
        )
    for name, param in params.items():
        param.set_data(ms.Tensor(arrays[name]).astype(param.dtype))


def _misfits(params: Mapping[str, Parameter], arrays: Arrays) -> Iterator[str]:
    for name in params.keys() - arrays.keys():
        yield f"it lacks {name}"
    for name in arrays.keys() - params.keys():
        yield f"the run has no {name}"
    for name, param in params.items():
        if tuple(param.shape) != arrays[name].shape:
            yield f"{name} is {arrays[name].shape}, the run needs {tuple(param.shape)}"


def versions() -> dict[str, str]:
    """Versions that explain a difference between two runs."""
    import platform

    import mindspore

    from . import __version__

    return {
        "mindloom": __version__,
        "mindspore": mindspore.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
