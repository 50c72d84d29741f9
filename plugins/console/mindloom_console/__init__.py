"""The plugin ``console``: how far a run is, for the person who watches it."""

from __future__ import annotations

from .plugin import Console

__all__ = ["Console"]
