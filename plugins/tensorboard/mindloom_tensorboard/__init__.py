"""The plugin ``tensorboard``: event files of what a run logs."""

from __future__ import annotations

from .plugin import Tensorboard

__all__ = ["Tensorboard"]
