"""From layers to a run: load the enabled plugins, type the config, find the run folder, and train."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from . import results
from .blame import blamed, blaming
from .config import build
from .defaults import Defaults
from .discovery import Found, find, load_file
from .ending import ending
from .errors import TrainingError, UserError
from .folders import Folder, find_checkpoint, new_run_folder
from .graphs import open_cache
from .layers import Layers
from .plugin import Plugin
from .registry import Registry, close
from .schema import CHOICES, RANGES
from .tracing import TracedRegistry

if TYPE_CHECKING:
    from .run import Run

LOG = logging.getLogger("mindloom")


def load_plugins(layers: Layers, available: Mapping[str, Found]) -> dict[str, type[Plugin]]:
    """Import the enabled plugins, and no others. A name that ends in ``.py`` is a file."""
    loaded: dict[str, type[Plugin]] = {}
    for name, origin in layers.enabled.items():
        if name.endswith(".py"):
            if origin != "command line":
                raise UserError(
                    f"{origin} names the plugin file {name}: only the command line may run files: "
                    f"--plugins {name}, if you trust it"
                )
            name, found = load_file(Path(name))
        else:
            found = find(name, dict(available), origin).load()
        if name in loaded:
            raise UserError(f"two plugins are called {name!r}: rename the file or switch one off")
        loaded[name] = found
    return loaded


def configure(layers: Layers, classes: Mapping[str, type[Plugin]], trace: bool = False) -> tuple[DictConfig, Registry]:
    """Type and check the config, and make the plugins.

    Args:
        layers, classes: what was asked for.
        trace: tell of every hook call, see :mod:`mindloom.tracing`.

    Raises:
        UserError: a setting is unknown, of the wrong type or out of range, or a plugin rejects the config.
    """
    cfg = build(layers, {name: found.Config for name, found in classes.items()})
    check_values(cfg)
    plugins: dict[str, Plugin] = {}
    try:
        for name, found in classes.items():
            plugins[name] = make_plugin(name, found, cfg.plugins[name])
        registry = (TracedRegistry if trace else Registry)(plugins, Defaults())
    except BaseException:
        close(plugins, LOG)
        raise
    try:
        results.check(registry)
        registry.call("on_configure", cfg=cfg)
    except BaseException:
        registry.close(LOG)
        raise
    OmegaConf.set_readonly(cfg, True)
    return cfg, registry


def make_plugin(name: str, found: type[Plugin], section: DictConfig) -> Plugin:
    """Make a plugin of its typed settings, and tell it its name."""
    try:
        plugin = found(section)
    except (UserError, TrainingError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise blamed(error, name, found, "__init__") from error
    if not hasattr(plugin, "cfg"):
        raise UserError(f"plugin {name!r}: its __init__ must call super().__init__(cfg), or it has no settings")
    plugin.name = name
    return plugin


def check_values(cfg: DictConfig) -> None:
    """Refuse core settings outside their range or choice."""
    for key, (low, high) in RANGES.items():
        value = OmegaConf.select(cfg, key)
        if not low <= value <= high:
            raise UserError(f"{key} must be from {low:g} to {high:g}, not {value:g}", setting=key)
    for key, choices in CHOICES.items():
        value = OmegaConf.select(cfg, key)
        if value not in choices:
            raise UserError(f"{key} must be one of {', '.join(c for c in choices if c)}, not {value!r}", setting=key)
    if len(cfg.optim.betas) != 2 or not all(0 <= beta < 1 for beta in cfg.optim.betas):
        raise UserError("optim.betas must be two numbers from 0 to below 1", setting="optim.betas")


def run(layers: Layers, available: Mapping[str, Found], trace: bool = False) -> int:
    """Train as the layers say; return the exit code. Errors are raised, with ``UserError`` for wrong use."""
    cfg, registry = configure(layers, load_plugins(layers, available), trace)
    return execute(cfg, registry)


def execute(cfg: DictConfig, registry: Registry) -> int:
    """Build the run, train, close every plugin; a failure reaches every plugin and leaves its traceback in a file."""
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's warnings about collectives on a CPU are noise
    from .build import build as build_run
    from .loop import train
    from .run import Run

    this = Run(cfg, registry, LOG, Path(cfg.save_path).expanduser())
    folder: Folder | None = None
    started = time.monotonic()
    failed = refused = False
    blameless = True
    try:
        with blaming(registry.plugins):
            resume_from = begin(this)
            folder = Folder(this.path, LOG)
            if this.world.is_main:
                folder.open(resume_from is not None)  # before anything slow: what cannot be written is refused at once
                if resume_from is None:
                    folder.write_config(cfg)
            built = build_run(this, resume_from)
            LOG.info("run folder: %s (%s)", this.path, this.device.name)
            if this.world.is_main and resume_from is not None:
                folder.write_config(cfg, resumed_at=this.step)
            with ending(built.stepper):
                train(this, built)
        LOG.info("%s", summary(this, time.monotonic() - started))
        return 128 + this.signal if this.signal else 0
    except BaseException as error:
        failed = True
        refused = isinstance(error, UserError) and this.step == this.first_step
        blameless = isinstance(error, UserError | KeyboardInterrupt)
        registry.tell("on_exception", LOG, run=this, error=error)
        if folder is not None and not blameless:
            folder.keep_traceback(error, this.world)
        raise
    finally:
        errors = registry.close(LOG)
        if this.graphs is not None:
            this.graphs.close(survived=blameless)
        if hasattr(this, "dataset"):
            this.dataset.close()
        if folder is not None:
            folder.close(refused)
        if errors and not failed:
            raise errors[0]


def begin(run: Run) -> Path | None:
    """Set up the device, join the other processes and choose the run folder; return what to resume from."""
    cfg, call = run.cfg, run.plugins.call
    run.device = call("make_device", cfg=cfg)
    run.world = call("make_world", cfg=cfg, device=run.device)
    run.graphs = open_cache(run)
    run.checkpointer = call("make_checkpointer", cfg=cfg)
    found = find_checkpoint(cfg, run.checkpointer)
    if found is not None:
        assert run.checkpointer is not None
        path = run.checkpointer.run_folder(found)
    else:
        path = new_run_folder(cfg, run.checkpointer)
    run.path = Path(run.world.share(str(path)))  # each process's clock would name another folder
    return found


def summary(run: Run, seconds: float) -> str:
    """Say how a run ended, and how to go on if it ended early."""
    planned = run.cfg.max_steps
    text = f"{run.stop_reason or 'finished'} at step {run.step} of {planned} after {seconds:.0f} s: {run.path}"
    if run.step >= planned or run.saved_step != run.step:
        return text
    path, root = run.path.resolve(), Path(run.cfg.save_path).expanduser().resolve()
    return f"{text}; go on with --resume {'latest' if root in (path, path.parent) else run.path}"
