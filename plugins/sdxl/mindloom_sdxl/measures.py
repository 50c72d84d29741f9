"""Captions in CLIP's tokens, for ``mindloom data check``."""

from __future__ import annotations

from typing import Any

from .tokens import LENGTH, CaptionTokenizer, load_tokenizer


class Tokens:
    """Tokens of a caption with its start and its end, of which both text encoders read 77."""

    limit = LENGTH

    def __init__(self, tokenizer: CaptionTokenizer) -> None:
        self.clip = tokenizer.clip

    def __call__(self, caption: str) -> int:
        return len(self.clip(caption)["input_ids"])


def tokens(cfg: Any) -> Tokens:
    """Count with the vocabulary that training would use under the same settings.

    Raises:
        UserError: there is none.
    """
    return Tokens(load_tokenizer(cfg.tokenizer, cfg.preset))
