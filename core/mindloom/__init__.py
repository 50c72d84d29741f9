"""mindloom: a callback-driven trainer for MindSpore whose every feature is a plugin."""

from __future__ import annotations

__version__ = "0.1.0"

from .errors import TrainingError, UserError
from .plugin import Plugin, hookimpl

__all__ = ["Plugin", "TrainingError", "UserError", "__version__", "hookimpl"]
