"""Writing a model in any layout: beside its place first, and moved there when it is whole."""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mindloom import UserError

from . import configs, mindspore_file, safe, vocabularies
from .fitting import harmless, nearest
from .folders import STEMS
from .names import PARTS, is_refiner, part_of, to_diffusers, to_mindspore
from .opening import Weights, keep_scale
from .safe import Shown
from .trained import Trained, read_json

LAYOUTS = ("single", "diffusers", "ckpt")
ENDINGS = {"single": ".safetensors", "ckpt": ".ckpt"}
"""Layouts of one file -> what its name ends in, by which they are told apart."""
DTYPES = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}
FILES = {"unet": STEMS[0], "vae": STEMS[0], "text_encoder": STEMS[1], "text_encoder_2": STEMS[1]}


@dataclass(frozen=True)
class Wish:
    """How to write.

    Attributes:
        layout: one of ``LAYOUTS``.
        dtype: of ``DTYPES``; empty keeps each tensor's own.
        prediction: what the UNet predicts, ``epsilon``, ``v_prediction`` or ``edm``; empty takes it from the source.
        tokenizer: a vocabulary for the diffusers layout; empty looks for one.
        force: replace what is there.
        shown: reports on the way.
    """

    layout: str
    dtype: str = ""
    prediction: str = ""
    tokenizer: str = ""
    force: bool = False
    shown: Shown = iter


def guess_layout(out: Path) -> str:
    """What a name asks for."""
    return next((layout for layout, ending in ENDINGS.items() if out.suffix == ending), "diffusers")


def save(weights: Weights, out: Path, wish: Wish) -> list[str]:
    """Write a model, and return what a person should know about it.

    Raises:
        UserError: there is something already, the place cannot be written, or a part of diffusers' layout is missing.
    """
    free(out, wish)
    tensors = {name: t.cast(DTYPES[wish.dtype]) if wish.dtype else t for name, t in weights.tensors.items()}
    weights = replace(weights, tensors=tensors)
    with replacing(out) as place:
        if wish.layout == "diffusers":
            return _save_folder(weights, place, wish)
        if wish.layout == "ckpt":
            mindspore_file.write(place, to_mindspore(tensors), wish.shown)
        else:
            safe.write(place, tensors, _metadata(weights, out.stem, wish), wish.shown)
    return []


def free(out: Path, wish: Wish) -> None:
    """See that nothing is lost by writing.

    Raises:
        UserError: something is there, and ``force`` was not given or is not enough.
    """
    if not out.exists():
        return
    if not wish.force:
        raise UserError(f"{out} exists already: choose another name, or replace it with --force")
    if out.is_dir() and not (out / "model_index.json").exists():
        raise UserError(f"{out} is a folder, and no diffusers model that could be replaced: choose another name")


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A place beside ``out`` that is moved there if all goes well, and removed if not.

    Raises:
        UserError: it cannot be written.
    """
    place = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove(place)
        yield place
        if out.is_dir():
            old = out.with_name(f".{out.name}.old")
            _remove(old)
            out.rename(old)
            place.rename(out)
            _remove(old)
        else:
            os.replace(place, out)
    except OSError as error:
        raise UserError(
            f"{out} cannot be written: {error.strerror or error}: make room or choose another place"
        ) from error
    finally:
        _remove(place)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _metadata(weights: Weights, title: str, wish: Wish) -> dict[str, str]:
    """modelspec, with what the source says of itself on top; what it says of its file alone is left out."""
    name, misfit = nearest(weights.shapes)
    if not name or misfit.unexpected or misfit.misshapen:
        return weights.metadata
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    said = {key: value for key, value in weights.metadata.items() if key not in ("format", "modelspec.hash_sha256")}
    return {**configs.modelspec(name, title, date), **said, **_trained(weights, wish).metadata()}


def _trained(weights: Weights, wish: Wish) -> Trained:
    return replace(weights.trained, prediction=wish.prediction) if wish.prediction else weights.trained


def _save_folder(weights: Weights, out: Path, wish: Wish) -> list[str]:
    name, misfit = nearest(weights.shapes)
    said = {part: read_json(weights.folder / part / "config.json") for part in PARTS} if weights.folder else {}
    known = configs.parts(name) if name and not misfit.misshapen else {}
    model = to_diffusers(weights.tensors)
    for part in known.keys() | {"unet", "vae", "text_encoder_2"}:
        if part not in model:
            raise UserError(
                f"{weights.path} holds no {part}, which a diffusers folder needs: complete it first with "
                "mindloom weights merge PART OUT --base FULL"
            )
    out.mkdir()
    trained = _trained(weights, wish)
    kept = keep_scale(weights.tensors)
    for part, tensors in model.items():
        config = said.get(part) or known.get(part)
        if config is None:
            raise UserError(f"{weights.path} is no known model, so the config of its {part} cannot be written")
        (out / part).mkdir()
        _write_json(out / part / "config.json", configs.scaled(config, trained) if part == "vae" else config)
        metadata = kept if part == "text_encoder_2" else {}
        safe.write(out / part / f"{FILES[part]}.safetensors", tensors, metadata, wish.shown)
    refiner = is_refiner(weights.tensors)
    vocabulary = vocabularies.at_hand(name, wish.tokenizer, weights.folder)
    tokenizers = vocabularies.write(out, vocabulary, refiner) if vocabulary else set[str]()
    (out / "scheduler").mkdir()
    scheduler = configs.scheduler(trained)
    _write_json(out / "scheduler" / "scheduler_config.json", scheduler)
    _write_json(out / "model_index.json", configs.index(refiner, tokenizers, scheduler["_class_name"]))
    return _notes(weights, bool(vocabulary))


def _notes(weights: Weights, vocabulary: bool) -> list[str]:
    notes = []
    if not vocabulary:
        notes.append("no tokenizer was written, for there is no vocabulary at hand: give one with --tokenizer FOLDER")
    if extras := [name for name in weights.tensors if not part_of(name) and not harmless(name)]:
        notes.append(
            f"{len(extras)} tensors have no place in a diffusers folder and were left out, such as {extras[0]}"
        )
    return notes


def _write_json(path: Path, content: configs.Json) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
