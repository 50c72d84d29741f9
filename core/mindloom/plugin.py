"""The base class of every plugin: typed settings, saved state, and a way to close."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pluggy

hookimpl = pluggy.HookimplMarker("mindloom")
"""Marks a method as the implementation of the hook of the same name."""


class Plugin:
    """One feature of a training run.

    A plugin is one subclass. Its settings are the nested dataclass ``Config``, filled from the section
    ``plugins.<name>`` of the configuration and found as ``self.cfg``. Its behaviour is the methods marked with
    ``@hookimpl``; what they may do is told by the verb: ``make_`` fills a slot, ``add_`` and ``edit_`` contribute,
    ``on_`` observes. The first line of the class's docstring is what ``mindloom plugins list`` shows.

    Import mindspore inside hooks, not at the top of the plugin's module: listing plugins and reading configurations
    must stay instant.
    """

    @dataclass
    class Config:
        """No settings."""

    api: ClassVar[int] = 1
    """Version of the hooks that the plugin is written for, see ``mindloom.api``; declared in its metadata too."""

    name: str = ""
    """Set by the core to the name under which the plugin was enabled."""

    before: ClassVar[tuple[str, ...]] = ()
    after: ClassVar[tuple[str, ...]] = ()
    """Soft ordering among plugins: names that need not be enabled or even installed."""

    ranks: ClassVar[str] = "main"
    """Which processes deliver ``on_log`` to this plugin: ``"main"`` or ``"all"``."""

    def __init__(self, cfg: Any = None) -> None:
        self.cfg: Any = self.Config() if cfg is None else cfg

    def state_dict(self) -> dict[str, Any]:
        """What must survive a resume: nested dicts of JSON values and NumPy arrays. Saved under the plugin's name."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` returned. Called before ``on_resume``, only when there is something."""

    def close(self) -> None:
        """Release files, threads and processes. Always called, last opened first, even after an error."""
