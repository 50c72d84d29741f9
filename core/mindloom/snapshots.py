"""How the state of a run leaves it as a snapshot, and enters it again."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .averages import restore_averages
from .checkpoint import FORMAT, Arrays, Snapshot
from .errors import TrainingError, UserError

if TYPE_CHECKING:
    from mindspore import Parameter, nn

    from .averages import Averages
    from .run import Run

ARRAY = "__array__"
"""Key of the reference that stands for an array in a plugin's state."""


def step_state(step: nn.Cell, model: nn.Cell, averages: Averages | None = None) -> dict[str, Parameter]:
    """The step's own parameters: what is neither the model's, nor saved as averages, nor empty between steps.

    Raises:
        TrainingError: two of them have the same name, so that one would be lost.
    """
    from .step import ACCUMULATED

    elsewhere = {id(param) for param in [*model.get_parameters(), *(averages.parameters if averages else ())]}
    state: dict[str, Parameter] = {}
    for param in step.get_parameters():
        if id(param) in elsewhere or param.name.startswith(f"{ACCUMULATED}."):
            continue
        if param.name in state:
            raise TrainingError(f"the step has two parameters named {param.name!r}: a plugin must name its own apart")
        state[param.name] = param
    return state


class Host:
    """Memory that parameters are copied to; the same again for the next copy, if it is kept.

    A copy to new memory takes many times longer than one to memory that is there: the system has to find and clear it.
    """

    def __init__(self, kept: bool = False) -> None:
        self.kept = kept
        self.arrays: dict[tuple[str, str], np.ndarray] = {}

    def copy(self, group: str, name: str, param: Parameter) -> np.ndarray:
        """Copy a parameter's value, once: on a CPU ``asnumpy`` shares the parameter's own memory."""
        array: np.ndarray = param.asnumpy()
        held = self.arrays.get((group, name))
        if held is None or held.shape != array.shape or held.dtype != array.dtype:
            held = array.copy()
            if self.kept:
                self.arrays[group, name] = held
        else:
            np.copyto(held, array)
        return held


def capture(run: Run, step: nn.Cell, host: Host) -> Snapshot:
    """Copy the state of a run to the host. Nothing of the copy changes when the run goes on.

    Raises:
        TrainingError: a plugin's state is not what ``Plugin.state_dict`` promises.
    """
    parameters = run.task.model.parameters_and_names()
    model = {name: host.copy("model", name, param) for name, param in parameters}
    further = step_state(step, run.task.model, run.averages)
    state = {name: host.copy("optimizer", name, param) for name, param in further.items()}
    arrays: Arrays = {}
    states = {**run.idle_states, **{name: plugin.state_dict() for name, plugin in run.plugins.plugins.items()}}
    plugins = {name: split(state, name, arrays) for name, state in states.items()}
    meta = {
        "format": FORMAT,
        **run.state(),
        "data": run.dataset.state(run.position),
        "versions": versions(),
        "altered_by": run.altered_by,
        "plugins": {name: state for name, state in plugins.items() if state},
    }
    groups = {"model": model, "optimizer": state, "plugins": arrays}
    if run.averages is not None:
        groups[run.averages.name] = run.averages.arrays(model, host)
        meta["averages"] = {run.averages.name: run.averages.counts()}
    return Snapshot(groups, deepcopy(meta))  # lists in it are still the plugins' own


def check_finite(snapshot: Snapshot) -> None:
    """Look at the weights, averaged ones too, so that nothing good gets overwritten.

    Raises:
        TrainingError: one of them is not a finite number.
    """
    weights = {group: arrays for group, arrays in snapshot.arrays.items() if group not in ("optimizer", "plugins")}
    # Averages share the arrays of what is not trained with the model: each is looked at once.
    arrays = {id(array): (name, array) for group in weights.values() for name, array in group.items()}
    for name, array in arrays.values():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise TrainingError(
                f"not saved: {name} holds NaN or infinity at step {snapshot.meta['step']}; earlier checkpoints are kept"
            )


def split(state: Any, path: str, arrays: Arrays) -> Any:
    """Move the arrays of a plugin's state aside and leave references in their place."""
    if isinstance(state, np.ndarray) and state.dtype.kind in "biuf":
        arrays[path] = state.copy()
        return {ARRAY: path}
    if isinstance(state, Mapping) and all(isinstance(key, str) for key in state):
        return {key: split(value, f"{path}/{key}", arrays) for key, value in state.items()}
    if not _is_json(state):
        name, _, key = path.partition("/")
        where = f"{key!r} of its state_dict" if key else "its state_dict"
        raise TrainingError(
            f"not saved: plugin {name!r}: {where} is neither JSON nor an array of numbers: {reprlib.repr(state)}"
        )
    return state


def _is_json(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(part) for key, part in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def join(state: Any, arrays: Arrays) -> Any:
    if isinstance(state, Mapping):
        return arrays[state[ARRAY]] if ARRAY in state else {key: join(value, arrays) for key, value in state.items()}
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
    _fill(step_state(step, run.task.model, run.averages), snapshot.arrays["optimizer"], path)
    restore_averages(run, snapshot)
    run.step = run.first_step = run.saved_step = int(meta["step"])
    run.first_position = int(meta["position"])
    run.dataset.resume(meta.get("data", {}), run.first_position)
    if meta["seed"] != run.cfg.seed:
        run.log.warning(
            "resuming with seed %d, the checkpoint has %d: order and noise differ", run.cfg.seed, meta["seed"]
        )
    for name, state in meta["plugins"].items():
        state = join(state, snapshot.arrays["plugins"])
        if name in run.plugins.plugins:
            run.plugins.plugins[name].load_state_dict(state)
        else:
            run.idle_states[name] = state


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
