"""What a model was trained to predict, and so how it has to be sampled: told by its checkpoint, file or folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mindloom import UserError

from .tensors import SETTING

KEY = "modelspec.prediction_type"
ZERO, MEAN, STD = "mindloom.zero_terminal_snr", "mindloom.latents_mean", "mindloom.latents_std"
WORDS = {"v": "v_prediction"}
"""Words of ModelSpec and of this program -> diffusers'."""


@dataclass(frozen=True)
class Trained:
    """How a model has to be sampled.

    Attributes:
        prediction: ``epsilon``, ``v_prediction`` or ``edm``.
        zero_terminal_snr: its noise schedule ended in pure noise.
        mean, std: of the VAE's four channels, where latents were brought to their scale.
    """

    prediction: str = "epsilon"
    zero_terminal_snr: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def metadata(self) -> dict[str, str]:
        """For a single file."""
        found = {KEY: {"v_prediction": "v"}.get(self.prediction, self.prediction)}
        if self.zero_terminal_snr:
            found[ZERO] = "true"
        if self.mean and self.std:
            found |= {MEAN: json.dumps(self.mean), STD: json.dumps(self.std)}
        return found


def by_metadata(metadata: Mapping[str, str]) -> Trained:
    """What a single file says."""
    said = metadata.get(KEY, "epsilon")
    mean, std = _numbers(metadata.get(MEAN, "[]")), _numbers(metadata.get(STD, "[]"))
    return Trained(WORDS.get(said, said), metadata.get(ZERO) == "true", mean, std)


def by_config(path: Path) -> Trained:
    """What the ``config.yaml`` of a checkpoint says; the usual, if there is none."""
    try:
        plugins = yaml.safe_load(path.read_text(encoding="utf-8"))["plugins"]
        cfg: dict[str, Any] = dict(next(section for name, section in plugins.items() if name == "sdxl"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration, yaml.YAMLError):
        return Trained()
    said, mean, std = str(cfg.get("objective", "epsilon")), cfg.get("latents_mean"), cfg.get("latents_std")
    return Trained(WORDS.get(said, said), bool(cfg.get("zero_terminal_snr")), tuple(mean or ()), tuple(std or ()))


def by_folder(folder: Path) -> Trained:
    """What the scheduler and the VAE of a diffusers folder say."""
    scheduler, vae = (read_json(folder / name) for name in ("scheduler/scheduler_config.json", "vae/config.json"))
    edm = "EDM" in str(scheduler.get("_class_name"))
    return Trained(
        "edm" if edm else str(scheduler.get("prediction_type", "epsilon")),
        bool(scheduler.get("rescale_betas_zero_snr")),
        tuple(vae.get("latents_mean") or ()),
        tuple(vae.get("latents_std") or ()),
    )


def read_json(path: Path) -> dict[str, Any]:
    """An object from a file, or an empty one if there is none.

    Raises:
        UserError: the file is no JSON object: what it said of the model would be lost unseen.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path} is no JSON object: restore the file, which says how the model works", SETTING)
    return found


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in json.loads(text))
    except (ValueError, TypeError):
        return ()
