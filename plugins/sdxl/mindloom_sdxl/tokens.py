"""Captions to token ids: CLIP's byte-pair vocabulary, padded the way each of SDXL's two text encoders expects."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from typing import NamedTuple

import numpy as np

from .vocabulary import END, START, Merges, find_vocabulary
from .vocabulary import TINY_ASSETS as TINY_ASSETS

LENGTH = 77
"""Tokens in a caption with its start and end: the context length that both CLIP encoders were trained with."""
WORDS = LENGTH - 2
"""Those between start and end."""


class TokenIds(NamedTuple):
    """One caption for both encoders; in n > 1 chunks everything has a first axis of n."""

    ids_1: np.ndarray
    """int32 ``[77]`` for CLIP-L, padded with the end token."""
    ids_2: np.ndarray
    """int32 ``[77]`` for OpenCLIP bigG, padded with 0."""
    eot_index: np.ndarray
    """int32 scalar: the position of the first end token, where the pooled embedding is read."""


class CaptionTokenizer:
    """``transformers.CLIPTokenizer`` over a vocabulary and its merges; safe to call from several threads.

    Attributes:
        chunks: a caption is read up to this many times 75 tokens.
        seen, cut: captions encoded so far, and how many of them were longer.
    """

    def __init__(self, vocabulary: dict[str, int], merges: Merges, chunks: int = 1) -> None:
        # It advises to install torch, which a tokenizer does not need.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        from transformers import CLIPTokenizer

        self.size, self.chunks = len(vocabulary), chunks
        self.fingerprint = hashlib.sha256(json.dumps([vocabulary, merges]).encode()).hexdigest()
        self.start, self.end = vocabulary[START], vocabulary[END]
        self.clip = CLIPTokenizer(vocab=vocabulary, merges=merges)  # type: ignore[arg-type]
        self.seen = self.cut = 0
        self.counting = threading.Lock()

    def encode(self, caption: str) -> TokenIds:
        """Each chunk of 75 tokens between a start and an end token of its own, padded; what is longer is cut off."""
        # Truncation and padding are done here: the library's own change shared state, which threads must not do.
        words = self.clip(caption)["input_ids"][1:-1]
        with self.counting:
            self.seen += 1
            self.cut += len(words) > WORDS * self.chunks
        parts = [self.padded(words[first : first + WORDS]) for first in range(0, WORDS * self.chunks, WORDS)]
        return parts[0] if self.chunks == 1 else TokenIds(*map(np.stack, zip(*parts, strict=True)))

    def report(self) -> str:
        """How many captions were cut, and what to do about it."""
        advice = (
            "raise plugins.sdxl.caption_chunks" if self.chunks > 1 else "plugins.sdxl.long_captions=true reads more"
        )
        return f"{self.cut} of {self.seen} captions so far were cut after {WORDS * self.chunks} tokens; {advice}"

    def padded(self, words: list[int]) -> TokenIds:
        ids = [self.start, *words, self.end]
        ids_1 = np.full(LENGTH, self.end, np.int32)
        ids_2 = np.zeros(LENGTH, np.int32)
        ids_1[: len(ids)] = ids_2[: len(ids)] = ids
        return TokenIds(ids_1, ids_2, np.array(ids.index(self.end), np.int32))


def load_tokenizer(path: str, preset: str, weight: str = "", chunks: int = 1) -> CaptionTokenizer:
    """See :func:`mindloom_sdxl.vocabulary.find_vocabulary`.

    Raises:
        UserError: there is no vocabulary, or it is damaged.
    """
    return CaptionTokenizer(*find_vocabulary(path, preset, weight), chunks)
