"""Where weights lie in a folder: a diffusers model or one of its parts, a checkpoint, a run, or a single file."""

from __future__ import annotations

import json
from pathlib import Path

from mindloom import UserError

from .names import PARTS
from .tensors import SETTING

GET = (
    "get the .safetensors of the same model, or make one where you trust the file: read it with "
    "torch.load(..., weights_only=True) and write its state_dict with safetensors.torch.save_file"
)
"""What to do with a pickle."""
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
SUFFIX, INDEX = ".safetensors", ".safetensors.index"
LONGEST_INDEX = 100_000_000


def find(folder: Path) -> Path | dict[str, Path] | None:
    """A file of weights, or the parts of a diffusers model by name, or None.

    A run folder and its ``checkpoints`` stand for the newest complete checkpoint.
    """
    parts = {part: folder / part for part in PARTS if component_files(folder / part)}
    if parts:
        return parts
    if (folder / "state.json").exists() and (folder / "model.safetensors").exists():
        return folder / "model.safetensors"
    for place in (folder / "checkpoints", folder):
        if files := _complete(place):
            return max(files, key=lambda file: int("".join(filter(str.isdigit, file.parent.name)) or 0))
    if part := _part_by_config(folder):
        return {part: folder}
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if len(files) == 1:
        return files[0]
    _refuse_bins(folder)
    return None


def _complete(checkpoints: Path) -> list[Path]:
    """The weights of the complete checkpoints in a folder."""
    files = [path.with_name("model.safetensors") for path in checkpoints.glob("step-*/state.json")]
    return [file for file in files if file.exists()]


def newest_run(folder: Path) -> Path | None:
    """The run below a folder of runs whose checkpoint was written last; None if there is no run with one."""
    files = [file for place in folder.glob("*/checkpoints") for file in _complete(place)]
    newest = max(files, key=lambda file: file.stat().st_mtime, default=None)
    return newest and newest.parent.parent.parent


def _part_by_config(folder: Path) -> str:
    """Which part of a diffusers model a folder is, as its config says."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    known = {
        "UNet2DConditionModel": "unet", "AutoencoderKL": "vae", "CLIPTextModel": "text_encoder",
        "CLIPTextModelWithProjection": "text_encoder_2",
    }  # fmt: skip
    named = [config.get("_class_name"), *(config.get("architectures") or [])] if isinstance(config, dict) else []
    part = next((known[name] for name in named if name in known), "")
    return part if part and component_files(folder) else ""


def component_files(folder: Path) -> dict[Path, list[str] | None]:
    """The files of one part, each with the names to read from it or None for all; empty if there are none.

    What has no variant goes before ``fp16`` and other variants, one file before several.

    Raises:
        UserError: an index that is damaged, leads elsewhere, or lists files that are not there; pickles only.
    """
    if not folder.is_dir():
        return {}
    for stem in STEMS:
        whole = [folder / f"{stem}{SUFFIX}", *sorted(folder.glob(f"{stem}.*{SUFFIX}"))]
        indices = [folder / f"{stem}{INDEX}.json", *sorted(folder.glob(f"{stem}{INDEX}.*.json"))]
        candidates = [path for pair in (whole[:1], indices[:1], whole[1:], indices[1:]) for path in pair]
        for path in candidates:
            if path.suffix == ".json" and path.exists():
                return _shards(path)
            if path.exists() and "-of-" not in path.name:
                return {path: None}
    _refuse_bins(folder)
    return {}


def _shards(index: Path) -> dict[Path, list[str] | None]:
    def wrong(reason: str) -> UserError:
        return UserError(f"weights index {index} {reason}: download the folder again", SETTING)

    try:
        if index.stat().st_size > LONGEST_INDEX:
            raise wrong("is too long")
        found = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        pairs = [(str(name), file) for name, file in found.items()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise wrong("is damaged") from None
    names: dict[Path, list[str]] = {}
    for name, file in pairs:
        # A name with a folder in it could lead anywhere on this machine.
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(SUFFIX):
            raise wrong(f"lists {file!r:.60}, which is no .safetensors file beside it")
        names.setdefault(index.parent / file, []).append(name)
    if missing := [path.name for path in names if not path.exists()]:
        raise wrong(f"lists {len(missing)} files that are not there, such as {missing[0]}")
    return dict(names)


def _refuse_bins(folder: Path) -> None:
    bins = sorted(path.name for stem in STEMS for path in folder.glob(f"{stem}*.bin"))
    if bins:
        raise UserError(
            f"weights folder {folder} holds PyTorch pickles only ({bins[0]}), which can run any code and are never "
            f"loaded: {GET}",
            SETTING,
        )
