"""The plugin ``validate``: what training achieves on things it does not train on."""

from __future__ import annotations

from .plugin import Validate

__all__ = ["Validate"]
