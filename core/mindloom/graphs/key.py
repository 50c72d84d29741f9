"""What decides about a graph besides the cell: versions, code, settings, machine, MindSpore's own state, processes.

Why a setting in ``ON_THE_HOST`` may change without another graph: the core gives it to no cell, so it could only get
into a graph as a constant that a plugin's cell holds, and constants are in the cell's fingerprint; or through
MindSpore's global state, which is part of the key. The seed stays in the key for that reason: MindSpore's random
operators take it from there while they are compiled. What code that runs during compilation fetches from elsewhere, a
file or the clock, is beyond any key.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from .. import __version__
from ..blame import summary

if TYPE_CHECKING:
    from ..run import Run

ON_THE_HOST = (
    *("save_path", "save_path_with_time", "resume", "stop_at", "log_interval"),  # read and written around the steps
    *("max_steps", "optim.lr", "optim.schedule", "optim.warmup_steps"),  # the rate is an input of every step
    *("data.path", "data.mix", "data.format", "data.shuffle", "data.workers", "data.prefetch", "data.decoder"),
    *("data.max_broken", "data.max_pixels", "data.buckets", "data.bucket_step", "data.bucket_run"),
    *("device.compile_cache", "device.max_memory"),
)
"""Settings that no graph depends on: of the data, a graph knows the shapes, and these count by themselves."""
SHAPING = (
    *("make_device", "make_world", "make_task", "edit_model", "make_precision", "make_schedule", "make_optimizer"),
    *("make_reducer", "add_grad_ops", "make_step", "make_stepper"),
)
"""Hooks that bring something into the graph; the settings of a plugin without any of them do not count."""
CODE = frozenset({".py", ".pyx", ".c", ".cc", ".cpp", ".cu", ".h", ".hpp", ".so"})
LAUNCHING = ("MS_SCHED_", "MS_NODE_", "MS_ROLE", "MS_WORKER_NUM", "MS_TOPO_", "MS_CLUSTER_", "MS_COMPILER_CACHE_")
"""Variables that say where processes meet, anew in every run."""
ELSEWHERE = (
    *("device_id", "max_device_memory", "enable_compile_cache", "compile_cache_path", "save_graphs_path"),
    *("cur_step_num", "last_triggered_step", "need_ckpt", "save_checkpoint_steps"),
)
"""Of MindSpore's state: where it keeps things and how far it is."""


def parts(run: Run, modules: Iterable[str]) -> dict[str, str]:
    """What decides about the graphs of a run, by name; digests where it is long.

    Args:
        run: with device and world.
        modules: others, beside the core and the plugins, whose code is in the graph.

    Raises:
        OSError: MindSpore does not say which chip it computes on.
    """
    import mindspore as ms
    import numpy as np

    plugins = run.plugins.plugins
    owners = [__package__.partition(".")[0], *(type(plugin).__module__ for plugin in plugins.values()), *modules]
    roots = {source_of(name) for name in owners} - {None}
    return {
        "mindspore": ms.__version__,
        "versions": f"python {platform.python_version()}, numpy {np.__version__}, mindloom {__version__}",
        "machine": f"{run.device.target} {chip(run.device.target)}, {processor()}",
        "context": _digest(context()),
        "environment": _digest(sorted(f"{name}={value}" for name, value in os.environ.items() if shaping(name))),
        "plugins": ", ".join(plugins),
        "settings": _digest([repr(settings(run))]),
        "code": _digest(sorted(f"{root.name} {code_digest(root)}" for root in roots if root is not None)),
        "processes": f"{run.world.rank} of {run.world.size}",
    }


def shaping(variable: str) -> bool:
    """Whether an environment variable may change what MindSpore compiles."""
    if variable.startswith(LAUNCHING) or variable == "MS_DEV_FORCE_USE_COMPILE_CACHE":
        return False
    return variable.startswith(("MS_", "ASCEND_", "HCCL_")) or variable == "OMP_NUM_THREADS"


def settings(run: Run) -> Mapping[str, Any]:
    """The config without what no graph can depend on."""
    cfg: Any = OmegaConf.to_container(run.cfg, resolve=True)
    for key in ON_THE_HOST:
        *above, last = key.split(".")
        section = functools.reduce(lambda outer, name: outer[name], above, cfg)
        del section[last]
    builders = {name for hook in SHAPING for wraps in (False, True) for name in run.plugins.fillers(hook, wraps)}
    cfg["plugins"] = {name: section for name, section in cfg["plugins"].items() if name in builders}
    return dict(cfg)


def chip(target: str) -> str:
    """The device's model, such as ``Ascend910B2``; a CPU's is told by :func:`processor`.

    Raises:
        OSError: MindSpore does not say; it may no longer know the function, which it calls deprecated.
    """
    import mindspore as ms

    if target == "CPU":
        return ""
    try:
        name = str(ms.hal.get_device_name(0, target))
    except Exception as error:
        raise OSError(f"MindSpore does not say which {target} this is: {summary(error)}") from error
    if not name:
        raise OSError(f"MindSpore does not say which {target} this is")
    return name


def context() -> list[str]:
    """MindSpore's global state, which plugins may set in any hook."""
    import mindspore as ms
    from mindspore._c_expression import MSContext, ms_ctx_param

    values = MSContext.get_instance()
    names = sorted(name for name in ms_ctx_param.__members__ if name not in ELSEWHERE)
    return [f"seed {ms.get_seed()}", *(f"{name} {values.get_param(ms_ctx_param.__members__[name])}" for name in names)]


def processor() -> str:
    """The processor's model: home folders are often shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.platform()
    return f"{platform.machine()} " + _digest(
        sorted({line for line in lines if line.startswith(("model name", "flags"))})
    )


def source_of(module: str) -> Path | None:
    """The folder of the top-level package that a module belongs to, or its file; None if it has neither."""
    top = sys.modules.get(module.partition(".")[0])
    if top is None:
        return None
    place = next(iter(getattr(top, "__path__", ())), None) or getattr(top, "__file__", None)
    return Path(place) if place else None


def code_digest(root: Path) -> str:
    """One digest over the source files of a package, or of a single file; unreadable ones count as empty."""
    files = [root] if root.is_file() else [path for path in sorted(root.rglob("*")) if path.suffix in CODE]
    found = []
    for path in files:
        try:
            found.append(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}")
        except OSError:
            found.append(str(path))
    return _digest(found)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def key_of(found: Mapping[str, str]) -> str:
    """The name of the entry for these parts."""
    return _digest(f"{name}\x1f{value}" for name, value in sorted(found.items()))
