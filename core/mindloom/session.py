"""From layers to a run: load the enabled plugins, type the config, find the run folder, and train."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .blame import PluginError, blaming
from .config import build
from .defaults import Defaults
from .discovery import Found, find, load_file
from .errors import TrainingError, UserError
from .layers import Layers
from .plugin import Plugin
from .registry import Registry
from .schema import CHOICES, RANGES

LOG = logging.getLogger("mindloom")


def load_plugins(layers: Layers, available: Mapping[str, Found]) -> dict[str, type[Plugin]]:
    """Import the enabled plugins, and no others. A name that ends in ``.py`` is a file."""
    loaded: dict[str, type[Plugin]] = {}
    for name, origin in layers.enabled.items():
        if name.endswith(".py"):
            if origin != "command line":
                raise UserError(
                    f"{origin} names the plugin file {name}: only the command line may run files (--plugins)"
                )
            name, found = load_file(Path(name))
        else:
            found = find(name, dict(available)).load()
        if name in loaded:
            raise UserError(f"two plugins are called {name!r}: rename the file or switch one off")
        loaded[name] = found
    return loaded


def configure(layers: Layers, classes: Mapping[str, type[Plugin]]) -> tuple[DictConfig, Registry]:
    """Type and check the config, and make the plugins.

    Raises:
        UserError: a setting is unknown, of the wrong type or out of range, or a plugin rejects the config.
    """
    cfg = build(layers, {name: found.Config for name, found in classes.items()})
    check_values(cfg)
    plugins: dict[str, Plugin] = {}
    for name, found in classes.items():
        try:
            plugins[name] = found(cfg.plugins[name])
        except Exception as error:
            raise PluginError(name, "__init__", error) from error
        plugins[name].name = name
    registry = Registry(plugins, Defaults())
    try:
        registry.call("on_configure", cfg=cfg)
    except BaseException:
        registry.close(LOG)
        raise
    OmegaConf.set_readonly(cfg, True)
    return cfg, registry


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


def run(layers: Layers, available: Mapping[str, Found]) -> int:
    """Train as the layers say; return the exit code. Errors are raised, with ``UserError`` for wrong use."""
    cfg, registry = configure(layers, load_plugins(layers, available))
    return execute(cfg, registry)


def execute(cfg: DictConfig, registry: Registry) -> int:
    """Build the run, train, close every plugin; on failure keep the traceback in the run folder."""
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's warnings about collectives on a CPU are noise
    from .build import build as build_run
    from .loop import train
    from .run import Run

    handler: logging.Handler | None = None
    path: Path | None = None
    started = time.monotonic()
    failed = False
    try:
        device = registry.call("make_device", cfg=cfg)
        world = registry.call("make_world", cfg=cfg, device=device)
        checkpointer = registry.call("make_checkpointer", cfg=cfg)
        with blaming(registry.plugins):
            resume_from = find_checkpoint(cfg, checkpointer)
            path = checkpointer.run_folder(resume_from) if resume_from else new_run_folder(cfg, checkpointer)
        path = Path(world.share(str(path)))  # each process's clock would name another folder
        this = Run(cfg, registry, LOG, path)
        this.device, this.world, this.checkpointer = device, world, checkpointer
        if world.is_main:
            handler = prepare_folder(path, cfg)
        LOG.info("run folder: %s (%s)", path, device.name)
        with blaming(registry.plugins):
            train(this, build_run(this, resume_from))
        seconds = time.monotonic() - started
        LOG.info(
            "%s at step %d of %d after %.0f s: %s",
            this.stop_reason or "finished",
            this.step,
            cfg.max_steps,
            seconds,
            path,
        )
        return 128 + this.signal if this.signal else 0
    except BaseException as error:
        failed = True
        if path is not None and path.is_dir() and not isinstance(error, UserError | KeyboardInterrupt):
            (path / "error.txt").write_text("".join(traceback.format_exception(error)))
            error.__notes__ = [f"traceback: {path / 'error.txt'}"]  # add_note came with Python 3.11
        raise
    finally:
        errors = registry.close(LOG)
        if handler is not None:
            LOG.removeHandler(handler)
            handler.close()
        if errors and not failed:
            raise TrainingError(f"{len(errors)} plugins failed to close: {errors[0]}")


def find_checkpoint(cfg: DictConfig, checkpointer: Any) -> Path | None:
    """Resolve ``resume``."""
    if not cfg.resume:
        return None
    if checkpointer is None:
        raise UserError("resume needs a plugin that reads checkpoints (see: mindloom plugins list)", setting="resume")
    found: Path = checkpointer.find(cfg.resume, Path(cfg.save_path).expanduser())
    return found


def new_run_folder(cfg: DictConfig, checkpointer: Any) -> Path:
    """The folder for a run that starts afresh.

    Raises:
        UserError: it would write into another run's checkpoints.
    """
    root = Path(cfg.save_path).expanduser()
    if not cfg.save_path_with_time:
        if checkpointer is not None and checkpointer.latest(root) is not None:
            raise UserError(
                f"{root} already holds checkpoints: go on with --resume latest, or choose another --save_path",
                setting="save_path",
            )
        return root
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    path, count = root / stamp, 1
    while path.exists():
        count += 1
        path = root / f"{stamp}_{count}"
    return path


def prepare_folder(path: Path, cfg: DictConfig) -> logging.Handler:
    """Make the run folder, write the merged config, and start its log.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
        handler = logging.FileHandler(path / "run.log", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"the output folder {path} cannot be written ({error.strerror}): choose another --save_path",
            setting="save_path",
        ) from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(handler)
    return handler
