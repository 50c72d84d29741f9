"""Finds and reads CLIP's byte-pair vocabulary: offline, unless the setting asks for the hub by name."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mindloom import UserError

SETTING = "plugins.sdxl.tokenizer"
START, END = "<|startoftext|>", "<|endoftext|>"
TINY_ASSETS = Path(__file__).parent / "assets" / "tokenizer"
OPEN_CLIP_FILE = "bpe_simple_vocab_16e6.txt.gz"
CLIP_MERGES = 49408 - 2 * 256 - 2
HUB = "hub:"
LISTS = ("vocab.json", "merges.txt")
WHOLE = "tokenizer.json"
BESIDE = "tokenizer"

Merges = list[tuple[str, str]]
Vocabulary = tuple[dict[str, int], Merges]
"""Token to id, and the pairs in the order in which they are merged."""


def find_vocabulary(path: str, preset: str, weight: str = "") -> Vocabulary:
    """Look in the places that README.md lists, in its order.

    Args:
        path: the setting: a folder with ``vocab.json`` and ``merges.txt`` or with ``tokenizer.json``, one of these
            files, OpenCLIP's ``bpe_simple_vocab_16e6.txt.gz``, or ``hub:`` and the name of a model; may be empty.
        preset: "tiny" has a vocabulary of its own.
        weight: the file or folder that the weights come from; may be empty.

    Raises:
        UserError: nothing was found, or what was found is damaged.
    """
    if path.startswith(HUB):
        return download(path.removeprefix(HUB))
    if path:
        return read_vocabulary(Path(path).expanduser())
    if weight and (folder := beside(Path(weight).expanduser())):
        return read_vocabulary(folder)
    if preset == "tiny":
        return read_vocabulary(TINY_ASSETS)
    spec = importlib.util.find_spec("open_clip")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / OPEN_CLIP_FILE).is_file():
            return read_vocabulary(Path(place) / OPEN_CLIP_FILE)
    raise UserError(
        "no CLIP vocabulary was found; four ways out: (1) set plugins.sdxl.tokenizer to a folder with "
        f"vocab.json and merges.txt or to {OPEN_CLIP_FILE}, (2) give weights with a tokenizer/ folder beside them, as "
        "diffusers saves them, (3) pip install --no-deps open_clip_torch, which ships it, (4) set "
        "plugins.sdxl.tokenizer=hub:openai/clip-vit-large-patch14, which downloads it",
        SETTING,
    )


def beside(weight: Path) -> Path | None:
    """The folder ``tokenizer`` inside a diffusers model, or beside a single file."""
    folder = (weight if weight.is_dir() else weight.parent) / BESIDE
    return folder if any((folder / name).is_file() for name in (LISTS[0], WHOLE)) else None


def download(name: str) -> Vocabulary:
    """From the hub, or its local cache, through transformers.

    Raises:
        UserError: it is not there, or the network is not.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it advises to install torch, which this does not need
    from transformers.utils import cached_file

    try:
        found = [cached_file(name, file) for file in LISTS]
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise UserError(
            f"plugins.sdxl.tokenizer: the vocabulary of {name} cannot be had from the hub ({reason}); check the name "
            "and the network, or give a folder with vocab.json and merges.txt",
            SETTING,
        ) from error
    assert found[0] is not None
    return read_vocabulary(Path(found[0]).parent)


def read_vocabulary(path: Path) -> Vocabulary:
    """Read any of the files that ``find_vocabulary`` names.

    Raises:
        UserError: it is not one.
    """
    try:
        if path.name.endswith(".gz"):
            with gzip.open(path, "rt", encoding="utf-8") as file:
                # The file goes on with merges that CLIP does not use.
                merges = parse_merges(line for line, _ in zip(file, range(CLIP_MERGES + 1), strict=False))
            return checked(clip_vocabulary(merges)), merges
        folder = path.parent if path.name in (*LISTS, WHOLE) else path
        if (folder / WHOLE).is_file() and not (folder / LISTS[0]).is_file():
            model = json.loads((folder / WHOLE).read_text(encoding="utf-8"))["model"]
            return checked(model["vocab"]), [pair(merge) for merge in model["merges"]]
        vocabulary = json.loads((folder / LISTS[0]).read_text(encoding="utf-8"))
        return checked(vocabulary), parse_merges((folder / LISTS[1]).read_text(encoding="utf-8").splitlines())
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
        raise UserError(
            f"plugins.sdxl.tokenizer: {path} is not a readable CLIP vocabulary ({reason}); give a folder with "
            "vocab.json and merges.txt",
            SETTING,
        ) from error


def checked(vocabulary: Any) -> dict[str, int]:
    """Refuse what is no mapping with both special tokens."""
    if not isinstance(vocabulary, dict):
        raise ValueError("not a mapping from tokens to ids")
    if missing := {START, END} - vocabulary.keys():
        raise ValueError(f"without {', '.join(sorted(missing))}")
    return vocabulary


def pair(merge: str | Sequence[str]) -> tuple[str, str]:
    """Both halves of a merge, which ``tokenizer.json`` writes in one string or in two."""
    left, right = merge.split() if isinstance(merge, str) else merge
    return left, right


def parse_merges(lines: Iterable[str]) -> Merges:
    """Pairs from the lines of ``merges.txt``, without its header."""
    numbered = enumerate(lines)
    return [pair(line) for number, line in numbered if line.strip() and not (number == 0 and "#version" in line)]


def clip_vocabulary(merges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Token to id in CLIP's order: 256 bytes, the same ending a word, the merges, the two special tokens.

    Radford et al. 2021; ``open_clip/tokenizer.py`` builds the same one. Bytes are spelled as in GPT-2's table: the
    printable ones of Latin-1 stand for themselves and come first, the others are numbered from U+0100.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    symbols = [chr(byte) for byte in printable] + [chr(0x100 + index) for index in range(256 - len(printable))]
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), *("".join(pair) for pair in merges), START, END]
    return {word: index for index, word in enumerate(words)}
