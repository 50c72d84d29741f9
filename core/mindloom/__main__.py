"""``python -m mindloom``."""

from .cli import entry

entry()
