"""The plugin ``flash_attn``: attention that never forms the tokens x tokens matrix."""

from __future__ import annotations

from .plugin import FlashAttn

__all__ = ["FlashAttn"]
