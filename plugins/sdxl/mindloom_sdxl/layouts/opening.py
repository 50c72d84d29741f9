"""Opening weights of whatever layout: what a path is, is read from what is there, not from its name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from mindloom import UserError

from . import mindspore_file, safe
from .folders import GET, component_files, find, newest_run
from .names import OPEN_CLIP, PARTS, REFINER_CLIP, SCALE, UNET, VAE, from_mindspore, to_official
from .tensors import BITS, ITEM_BYTES, SETTING, Lazy, Tensors
from .trained import Trained, by_config, by_folder, by_metadata

WANTED = "give the single file sd_xl_base_1.0.safetensors, a diffusers folder, or a checkpoint of this program"
LFS = b"version https://git-lfs"
ZIP, PROTOCOLS = b"PK\x03\x04", (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
PICKLES = (".bin", ".pt", ".pth", ".pkl")
CLIP_SCALE = math.log(100)
"""CLIP's temperature, clipped there in training: no output of SDXL depends on it, and diffusers does not keep it."""
KEPT_SCALE = "mindloom.logit_scale"
"""Metadata under which a diffusers folder keeps ``logit_scale``: its dtype, a colon, its bytes in hexadecimal."""


@dataclass(frozen=True)
class Weights:
    """An opened model.

    Attributes:
        path: what was given.
        layout: ``single``, ``diffusers``, ``ckpt`` or ``checkpoint``.
        tensors: under official names.
        metadata: of a single file.
        folder: of the diffusers layout: where configs and tokenizers are.
        trained: how it has to be sampled.
    """

    path: Path
    layout: str
    tensors: Tensors
    metadata: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None
    trained: Trained = field(default_factory=Trained)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all tensors."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}


def open_weights(path: Path, setting: str = SETTING) -> Weights:
    """Open weights without reading them.

    Args:
        setting: what to blame.

    Raises:
        UserError: there are none, they are damaged, or they are a pickle.
    """
    path = path.expanduser()
    try:
        if not path.exists():
            raise UserError(f"weights {path} do not exist: {WANTED}", setting)
        if not path.is_dir():
            return _open_file(path, setting)
        found = find(path)
        if isinstance(found, Path):
            opened = _open_file(found, setting)
            return replace(opened, path=path)
        if not found and (run := newest_run(path)):
            raise UserError(
                f"weights folder {path} holds runs and is none itself: give one, the newest is {run}", setting
            )
        if not found:
            raise UserError(f"weights folder {path} holds no .safetensors that can be told apart: {WANTED}", setting)
        return _open_parts(path, found, setting)
    except OSError as error:
        raise UserError(f"weights {path} cannot be read: {error.strerror or error}", setting) from error


def _open_parts(path: Path, parts: dict[str, Path], setting: str) -> Weights:
    """Folders of the diffusers layout."""
    model, scale = {}, None
    for part, folder in parts.items():
        model[part], metadata = _component(folder, setting)
        scale = metadata.get(KEPT_SCALE, scale)
    tensors = _official(path, model, setting)
    _add_scale(tensors, scale)
    folder = path if path not in parts.values() else path.parent
    return Weights(path, "diffusers", tensors, {}, folder, by_folder(folder))


def _component(folder: Path, setting: str) -> tuple[Tensors, dict[str, str]]:
    """One part, which may lie in several files."""
    tensors: Tensors = {}
    metadata: dict[str, str] = {}
    for file, names in component_files(folder).items():
        found, more = _read(file, setting, safe.read)
        wanted = found if names is None else {name: found[name] for name in names if name in found}
        if names is not None and len(wanted) < len(names):
            raise UserError(f"weights {file} lack {len(names) - len(wanted)} tensors that the index lists", setting)
        tensors, metadata = tensors | wanted, metadata | more
    return tensors, metadata


def _open_file(path: Path, setting: str) -> Weights:
    _refuse_pickles(path, setting)
    if path.suffix == ".ckpt":
        tensors = _read(path, setting, mindspore_file.read)
        return Weights(path, "ckpt", from_mindspore(tensors))
    tensors, metadata = _read(path, setting, safe.read)
    part, begin = _naming(tensors)
    if not part:
        if (path.parent / "state.json").exists():
            return Weights(path, "checkpoint", tensors, metadata, None, by_config(path.parent / "config.yaml"))
        named = {begin + name: tensor for name, tensor in tensors.items()}
        return Weights(path, "single", named, metadata, None, by_metadata(metadata))
    official = _official(path, {part: tensors}, setting)
    _add_scale(official, metadata.get(KEPT_SCALE))
    folder = path.parent.parent
    return Weights(path, "diffusers", official, {}, folder, by_folder(folder))


def _naming(tensors: Tensors) -> tuple[str, str]:
    """The part of the diffusers layout that a file is, if it is one, and what its official names lack in front."""

    def any_begins(*begins: str) -> bool:
        return any(name.startswith(begins) for name in tensors)

    if any_begins(*(begin for begins in PARTS.values() for begin in begins)):
        return "", ""
    if any_begins("down_blocks.") and any_begins("conv_in."):
        return "unet", ""
    if any_begins("encoder.down_blocks.", "decoder.up_blocks."):
        return "vae", ""
    if any_begins("text_model.encoder.", "encoder.layers."):
        return ("text_encoder_2" if "text_projection.weight" in tensors else "text_encoder"), ""
    if any_begins("encoder.down.", "decoder.up."):
        return "", VAE
    return "", UNET if any_begins("input_blocks.") else ""


def _official(path: Path, model: dict[str, Tensors], setting: str) -> Tensors:
    try:
        return to_official(model)
    except (ValueError, IndexError) as error:
        raise UserError(f"weights {path}: {error} is no name of SDXL's: {WANTED}", setting) from error


def _add_scale(tensors: Tensors, kept: str | None) -> None:
    """Put ``logit_scale`` beside a second text encoder, as it was kept or as CLIP has it."""
    for begin in (OPEN_CLIP, REFINER_CLIP):
        like = tensors.get(f"{begin}text_projection")
        if like is None or like.dtype not in BITS:
            continue
        dtype, _, digits = (kept or "").partition(":")
        if dtype in BITS and len(digits) == 2 * ITEM_BYTES[dtype] and set(digits) <= set("0123456789abcdef"):
            bits = np.frombuffer(bytes.fromhex(digits), BITS[dtype]).reshape(())
            tensors[begin + SCALE] = Lazy(dtype, (), lambda bits=bits: bits)  # type: ignore[misc]
        else:
            bits = np.array(CLIP_SCALE, np.float32)
            tensors[begin + SCALE] = Lazy("F32", (), lambda bits=bits: bits).cast(like.dtype)  # type: ignore[misc]


def _read(path: Path, setting: str, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except safe.DamagedError as error:
        kind = "safetensors file" if read is safe.read else "MindSpore checkpoint"
        raise UserError(
            f"weights {path} ({path.stat().st_size} bytes) are not a whole {kind} ({error}): "
            f"download the file again, or {WANTED}",
            setting,
        ) from error


def _refuse_pickles(path: Path, setting: str) -> None:
    """Look at the first bytes. A pickle can run any code when it is read.

    A safetensors file may begin with the same two bytes as a pickle, but has "{" where its header begins.
    """
    with path.open("rb") as file:
        start = file.read(24)
    pickled = start[:4] == b"PK\x03\x04" or (
        start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    )
    if (pickled or path.suffix in PICKLES) and start[8:9] != b"{":
        raise UserError(
            f"weights {path} are a PyTorch pickle, which can run any code and is never loaded: {GET}", setting
        )
    if start.startswith(LFS):
        raise UserError(f"{path} only points to weights that Git LFS keeps: run git lfs pull there", setting)


def keep_scale(tensors: Tensors) -> dict[str, str]:
    """Metadata for a diffusers folder that keep ``logit_scale``."""
    for begin in (OPEN_CLIP, REFINER_CLIP):
        if scale := tensors.get(begin + SCALE):
            return {KEPT_SCALE: f"{scale.dtype}:{scale.read().tobytes().hex()}"}
    return {}
