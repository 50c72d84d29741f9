"""Captions to token ids: CLIP's byte-pair vocabulary, padded the way each of SDXL's two text encoders expects."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mindloom import UserError

LENGTH = 77
"""Tokens in a caption with its start and end: the context length that both CLIP encoders were trained with."""

SETTING = "plugins.sdxl.tokenizer"
START, END = "<|startoftext|>", "<|endoftext|>"
TINY_ASSETS = Path(__file__).parent / "assets" / "tokenizer"
OPEN_CLIP_FILE = "bpe_simple_vocab_16e6.txt.gz"
CLIP_MERGES = 49408 - 2 * 256 - 2


class TokenIds(NamedTuple):
    """One caption for both encoders."""

    ids_1: np.ndarray
    """int32 ``[77]`` for CLIP-L, padded with the end token."""
    ids_2: np.ndarray
    """int32 ``[77]`` for OpenCLIP bigG, padded with 0."""
    eot_index: np.ndarray
    """int32 scalar: the position of the first end token, where the pooled embedding is read."""


class CaptionTokenizer:
    """``transformers.CLIPTokenizer`` over a vocabulary and its merges; safe to call from several threads."""

    def __init__(self, vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> None:
        # It advises to install torch, which a tokenizer does not need.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        from transformers import CLIPTokenizer

        self.size = len(vocabulary)
        self.fingerprint = hashlib.sha256(json.dumps([vocabulary, merges]).encode()).hexdigest()
        self.end = vocabulary[END]
        self.clip = CLIPTokenizer(vocab=vocabulary, merges=merges)  # type: ignore[arg-type]

    def encode(self, caption: str) -> TokenIds:
        """Cut to 77 tokens, the end token kept, and pad."""
        # Truncation and padding are done here: the library's own change shared state, which threads must not do.
        ids = self.clip(caption)["input_ids"]
        if len(ids) > LENGTH:
            ids = [*ids[: LENGTH - 1], self.end]
        ids_1 = np.full(LENGTH, self.end, np.int32)
        ids_2 = np.zeros(LENGTH, np.int32)
        ids_1[: len(ids)] = ids_2[: len(ids)] = ids
        return TokenIds(ids_1, ids_2, np.array(ids.index(self.end), np.int32))


def load_tokenizer(path: str, preset: str) -> CaptionTokenizer:
    """Find the vocabulary; the network is never asked.

    ``path`` is a folder with ``vocab.json`` and ``merges.txt`` (``tokenizer/`` of a diffusers model), that
    ``vocab.json``, or OpenCLIP's ``bpe_simple_vocab_16e6.txt.gz``. Empty means the vocabulary shipped for the preset
    "tiny", and otherwise the one inside an installed ``open_clip`` package.

    Raises:
        UserError: nothing was found, or what was found is damaged.
    """
    if path:
        return read_tokenizer(Path(path).expanduser())
    if preset == "tiny":
        return read_tokenizer(TINY_ASSETS)
    spec = importlib.util.find_spec("open_clip")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / OPEN_CLIP_FILE).is_file():
            return read_tokenizer(Path(folder) / OPEN_CLIP_FILE)
    raise UserError(
        "no CLIP vocabulary was found: set plugins.sdxl.tokenizer to a folder with vocab.json and merges.txt (the "
        f"tokenizer/ folder of any SDXL or CLIP-L model) or to {OPEN_CLIP_FILE}, or install the package that ships it: "
        "pip install --no-deps open_clip_torch",
        SETTING,
    )


def read_tokenizer(path: Path) -> CaptionTokenizer:
    try:
        if path.name.endswith(".gz"):
            with gzip.open(path, "rt", encoding="utf-8") as file:
                # The file goes on with merges that CLIP does not use.
                merges = parse_merges(line for line, _ in zip(file, range(CLIP_MERGES + 1), strict=False))
            return CaptionTokenizer(clip_vocabulary(merges), merges)
        folder = path.parent if path.name == "vocab.json" else path
        vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        merges = parse_merges((folder / "merges.txt").read_text(encoding="utf-8").splitlines())
        return CaptionTokenizer(vocabulary, merges)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
        raise UserError(
            f"plugins.sdxl.tokenizer: {path} is not a readable CLIP vocabulary ({reason}); give a folder with "
            "vocab.json and merges.txt",
            SETTING,
        ) from error


def parse_merges(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs from the lines of ``merges.txt``, without its header."""
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(lines):
        if number == 0 and "#version" in line:
            continue
        if line.strip():
            left, right = line.split()
            merges.append((left, right))
    return merges


def clip_vocabulary(merges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Token to id in CLIP's order: 256 bytes, the same ending a word, the merges, the two special tokens.

    Radford et al. 2021; ``open_clip/tokenizer.py`` builds the same one. Bytes are spelled as in GPT-2's table: the
    printable ones of Latin-1 stand for themselves and come first, the others are numbered from U+0100.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    symbols = [chr(byte) for byte in printable] + [chr(0x100 + index) for index in range(256 - len(printable))]
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), *("".join(pair) for pair in merges), START, END]
    return {word: index for index, word in enumerate(words)}
