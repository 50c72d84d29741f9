"""Proof without the device: a config's whole training step compiled for it, up to where its kernels would be chosen.

The CPU build of MindSpore parses, infers and differentiates other devices' operators and only then, choosing kernels,
finds that it has none. A step that gets that far is well formed, at its full size too: parameters have no values here.
"""

from __future__ import annotations

import copy
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from .blame import blaming, summary
from .errors import TrainingError, UserError
from .session import LOG, configure, load_plugins

if TYPE_CHECKING:
    from .discovery import Found
    from .layers import Layers
    from .registry import Registry
    from .run import Run

DEVICE_ONLY: dict[str, frozenset[str]] = {"Ascend": frozenset({"FlashAttentionScore", "FlashAttentionScoreGrad"})}
"""Operators that a target has and a CPU has not."""


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        target: the device whose branches were taken.
        trained, parameters: how many numbers train, and how many there are.
        nodes: calls of operators in the step's optimised graph, before a back end fuses or splits them.
        device_only: operators that only the target has -> calls of them.
        seconds, cpu_seconds: wall clock and processor time of compiling.
        peak_bytes: the most memory that the process held, everything imported included.
    """

    target: str
    trained: int
    parameters: int
    nodes: int
    device_only: dict[str, int]
    seconds: float
    cpu_seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        only = ", ".join(f"{count} {name}" for name, count in self.device_only.items()) or "none"
        return (
            f"accepted for {self.target}: {self.nodes} nodes; operators that a CPU lacks: {only}; "
            f"{self.trained / 1e6:.2f} M of {self.parameters / 1e6:.2f} M parameters train; "
            f"compiled in {self.seconds:.1f} s ({self.cpu_seconds:.1f} s of processors), "
            f"peak memory {self.peak_bytes / 1e9:.2f} GB"
        )


def run(layers: Layers, available: Mapping[str, Found], as_json: bool = False, trace: bool = False) -> int:
    """Check what the layers say and print the report; errors are raised.

    Raises:
        UserError: a setting is wrong, or a check cannot do what it asks for.
        TrainingError: the step does not compile.
    """
    os.environ.setdefault("GLOG_v", "4")  # what MindSpore would log of an error is told in one line
    classes = load_plugins(layers, available)
    joining = [name for name, found in classes.items() if hasattr(found, "make_world")]
    if joining:
        raise UserError(
            f"a check compiles what one process computes, but {joining[0]!r} joins several: --plugins no:{joining[0]}"
        )
    cfg, registry = configure(layers, classes, trace)
    try:
        with blaming(registry.plugins):
            report = check(cfg, registry)
    finally:
        registry.close(LOG)
    print(json.dumps(asdict(report)) if as_json else report)
    return 0


def check(cfg: DictConfig, registry: Registry) -> Report:
    """Build the step as for training, but empty, and compile it for ``device.target``."""
    if cfg.device.mode != "graph":
        raise UserError("only a graph can be checked: set device.mode=graph", setting="device.mode")
    from mindspore.nn.utils import no_init_parameters

    from .build import alter_model, make_step
    from .probe import compile_step

    target = cfg.device.target
    known = DEVICE_ONLY.get(target, frozenset())
    with dry_run(cfg, registry) as this:
        with no_init_parameters():
            step = make_step(this, alter_model(this))
        clocks = time.monotonic(), time.process_time()
        try:
            with blaming(registry.plugins, "compiling the step"):
                graph = compile_step(this, step, known)
        except (UserError, TrainingError):
            raise
        except Exception as error:
            raise TrainingError(f"the step does not compile for {target}: {summary(error)}") from error
        seconds, cpu_seconds = time.monotonic() - clocks[0], time.process_time() - clocks[1]
    params = list(this.task.model.get_parameters())
    return Report(
        target=target,
        trained=sum(param.size for param in params if param.requires_grad),
        parameters=sum(param.size for param in params),
        nodes=graph.nodes,
        device_only={name: count for name, count in sorted(graph.operators.items()) if name in known},
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


@contextmanager
def dry_run(cfg: DictConfig, registry: Registry) -> Iterator[Run]:
    """A run with the task made, empty: its parameters have no values, and it believes to be on ``device.target``."""
    from mindspore.nn.utils import no_init_parameters

    from .build import make_task
    from .run import Run
    from .world import World

    host = copy.deepcopy(cfg)
    OmegaConf.set_readonly(host, False)
    host.device.target, host.device.max_memory = "CPU", ""
    device = registry.call("make_device", cfg=host)
    with tempfile.TemporaryDirectory(prefix="mindloom-check-") as scratch:
        this = Run(cfg, registry, LOG, Path(scratch), dry=True)
        this.device, this.world = replace(device, target=cfg.device.target), World()
        with no_init_parameters():
            make_task(this)
        yield this
