"""The command line's flags: each is sugar for one setting or for switching a plugin, and adds a layer to the config."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .discovery import Found
from .errors import UserError
from .layers import Layers, plugin_name
from .parsing import nest, parse_override, parse_value
from .schema import OptimConfig

SETTINGS: dict[str, dict[str, tuple[str, str]]] = {
    "where from and where to": {
        "weight": ("weight", "weights to start from"),
        "data_path": ("data.path", "folder that holds the samples"),
        "save_path": ("save_path", "where run folders are made"),
        "save_path_with_time": ("save_path_with_time", "True: a new folder named by date and time for each run"),
        "resume": ("resume", "latest, or a checkpoint or run folder, whose config holds if there is no --config"),
        "resume_step": ("resume", "the same for the checkpoint of this step below the save path; 0: start afresh"),
    },
    "training": {
        "per_batch_size": ("per_batch_size", "samples a process takes in one forward pass"),
        "gradient_accumulation_steps": ("gradient_accumulation_steps", "forward passes summed into one step"),
        "clip_grad": ("optim.max_grad_norm", "True: clip, to 1 where no norm is given; False: do not"),
        "max_grad_norm": ("optim.max_grad_norm", "clip gradients to this global norm; 0: do not"),
        "seed": ("seed", "fixes order, crops, noise and initial weights"),
        "log_interval": ("log_interval", "steps between logged records"),
    },
    "device": {
        "device_target": ("device.target", "CPU, GPU or Ascend"),
        "ms_mode": ("device.mode", "graph (0) or pynative (1)"),
        "jit_level": ("device.jit_level", "O0, O1 or O2"),
        "max_device_memory": ("device.max_memory", 'limit such as "59GB"'),
    },
}
"""Group -> flag -> (setting, help)."""

OTHER = {"config", "plugins", "list-plugins", "trace-plugins", "allow-env", "debug", "help"}
MODES = {"0": "graph", "1": "pynative"}
TEXTS = {"weight", "data.path", "save_path", "resume", "device.target", "device.jit_level", "device.max_memory"}
"""Settings taken as they are typed: a path is not YAML."""


def add_flags(parser: argparse.ArgumentParser, available: Iterable[Found]) -> None:
    """Define every flag, the plugins' own ones too. Nothing is imported for it."""
    for title, flags in SETTINGS.items():
        group = parser.add_argument_group(title)
        for flag, (key, text) in flags.items():
            group.add_argument(f"--{flag}", metavar="X", help=f"{text} [{key}]")
    group = parser.add_argument_group("plugins' flags")
    for flag, target in sorted(plugin_flags(available).items()):
        name, _, setting = target.partition(":")
        text = f"sets plugins.{name}.{setting}" if setting else f"True switches the plugin {name} on, False off"
        group.add_argument(f"--{flag}", metavar="X", help=text)


def plugin_flags(available: Iterable[Found]) -> dict[str, str]:
    """Flag -> ``plugin`` or ``plugin:setting``, of every plugin there is. The core's own flags cannot be taken over."""
    taken = OTHER.union(*SETTINGS.values())
    return {flag: target for found in available for flag, target in found.flags if flag not in taken}


def apply_flags(layers: Layers, given: Mapping[str, Any], available: Mapping[str, Found]) -> None:
    """Add what was typed as layers: ``--plugins``, then ``key=value``, then flags."""
    select(layers, given.get("plugins") or [], available)
    for text in given.get("overrides") or []:
        override = parse_override(text)
        sections = override.get("plugins", {})
        if isinstance(sections, Mapping) and all(isinstance(section, Mapping) for section in sections.values()):
            layers.set(override, "command line")
            continue
        raise UserError(f"{text!r}: switch plugins with --plugins a,b,no:c")
    for key, value in _core_flags(given):
        layers.set(nest(key, value), "flag")
    _clip(layers, given.get("clip_grad"))
    for flag, target in plugin_flags(available.values()).items():
        text = given.get(flag.replace("-", "_"))
        if text is not None:
            _plugin_flag(layers, flag, target, text, available)


def _core_flags(given: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    if given.get("resume") is not None and given.get("resume_step") is not None:
        raise UserError("--resume and --resume_step both say where to go on: give one of them")
    for flags in SETTINGS.values():
        for flag, (key, _) in flags.items():
            text = given.get(flag)
            if text is None or flag == "clip_grad":
                continue
            if flag == "ms_mode":
                text = MODES.get(text, text)
            elif flag == "resume_step":
                text = _step(text)
            yield key, text if key in TEXTS else parse_value(text, f"--{flag}")


def _step(text: str) -> str:
    """A step as ``resume`` takes it: a number, without leading zeros, or nothing for 0."""
    if not text.isdecimal():
        raise UserError(f"--resume_step takes the number of a step, not {text!r}")
    return text.lstrip("0")


def _clip(layers: Layers, text: str | None) -> None:
    """Obey ``--clip_grad``: it beats a norm from a file or a flag, and finds one where there is none."""
    if text is None:
        return
    wanted = switch("clip_grad", text)
    norm = layers.values.get("optim", {}).get("max_grad_norm", OptimConfig.max_grad_norm)
    if not wanted or not norm:
        layers.set(nest("optim.max_grad_norm", OptimConfig.max_grad_norm if wanted else 0.0), "flag")


def _plugin_flag(layers: Layers, flag: str, target: str, text: str, available: Mapping[str, Found]) -> None:
    name, _, key = target.partition(":")
    if key:
        layers.set({"plugins": {name: {key: parse_value(text, f"--{flag}")}}}, "flag")
    else:
        select(layers, [name if switch(flag, text) else f"no:{name}"], available)


def switch(flag: str, text: str) -> bool:
    """Read True or False as people type it.

    Raises:
        UserError: it is neither.
    """
    value = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in value:
        raise UserError(f"--{flag} takes True or False, not {text!r}")
    return value[text.lower()]


def select(layers: Layers, wishes: Iterable[str], available: Mapping[str, Found]) -> None:
    """Apply ``--plugins a,b,no:c``: adds, or removes and blocks. The command line beats the files."""
    from .discovery import find

    names = [name.strip() for wish in wishes for name in wish.split(",") if name.strip()]
    for name in names:
        if name.startswith("no:"):
            blocked = name[3:]
            if blocked not in map(plugin_name, layers.enabled):
                find(blocked, dict(available))
            layers.block(blocked)
            continue
        if name.endswith(".py"):
            # Settings for a file's plugin stand under its name, which switches on a plugin that need not exist.
            layers.enabled.pop(Path(name).stem, None)
        else:
            find(name, dict(available))
        layers.enable(name, "command line")
    both = {name for name in names if f"no:{name}" in names}
    if both:
        raise UserError(f"--plugins both adds and removes {', '.join(sorted(both))}: leave one of the two out")
