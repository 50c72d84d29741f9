"""The two ``tokenizer`` folders of a diffusers model, from a vocabulary that is at hand. The network is never asked."""

from __future__ import annotations

import gzip
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

from mindloom import UserError

from ..tokens import LENGTH
from ..vocabulary import CLIP_MERGES, END, LISTS, OPEN_CLIP_FILE, START, TINY_ASSETS, clip_vocabulary, parse_merges

FOLDERS = ("tokenizer", "tokenizer_2")


def at_hand(model: str, wish: str, source: Path | None) -> Path | None:
    """Where a vocabulary is: the one wished for, beside the weights, the tiny one's own, in ``open_clip``, or nowhere.

    Raises:
        UserError: what was wished for is not there.
    """
    if wish:
        path = Path(wish).expanduser()
        packed = path.name.endswith(".gz") and path.is_file()
        if not (packed or all((path / file).is_file() for file in LISTS)):
            what = "there is nothing at" if not path.exists() else "there is no vocabulary in"
            raise UserError(
                f"{what} --tokenizer {path}: give a folder with {' and '.join(LISTS)}, or the file {OPEN_CLIP_FILE}, "
                "or leave it out to take what is at hand"
            )
        return path
    if source and (source / "tokenizer" / "vocab.json").exists():
        return source / "tokenizer"
    if model == "tiny":
        return TINY_ASSETS
    spec = importlib.util.find_spec("open_clip")
    places = [Path(folder) / OPEN_CLIP_FILE for folder in ((spec.submodule_search_locations or ()) if spec else ())]
    return next((place for place in places if place.is_file()), None)


def write(out: Path, vocabulary: Path, refiner: bool) -> set[str]:
    """Write both folders, or the refiner's one, and return their names."""
    made = set(FOLDERS[1:] if refiner else FOLDERS)
    for name in made:
        folder = out / name
        folder.mkdir()
        if vocabulary.name.endswith(".gz"):
            _unpack(vocabulary, folder)
        else:
            for file in LISTS:
                shutil.copyfile(vocabulary / file, folder / file)
        # CLIP-L pads with the end of the text, OpenCLIP with token 0.
        pad = (
            END if name == "tokenizer" else next(iter(json.loads((folder / "vocab.json").read_text(encoding="utf-8"))))
        )
        _settings(folder, pad)
    return made


def _unpack(packed: Path, folder: Path) -> None:
    with gzip.open(packed, "rt", encoding="utf-8") as file:
        # The file goes on with merges that CLIP does not use.
        merges = parse_merges(line for line, _ in zip(file, range(CLIP_MERGES + 1), strict=False))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    vocabulary = json.dumps(clip_vocabulary(merges), ensure_ascii=False)
    (folder / "vocab.json").write_text(vocabulary, encoding="utf-8")


def _settings(folder: Path, pad: str) -> None:
    special: dict[str, Any] = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad}
    settings = {
        **special,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": LENGTH,
        "tokenizer_class": "CLIPTokenizer",
    }
    for name, content in (("special_tokens_map", special), ("tokenizer_config", settings)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
