"""The plugin ``native``: C++ kernels in the place of MindSpore's slow CPU operators."""

from __future__ import annotations

from .plugin import Native

__all__ = ["Native"]
