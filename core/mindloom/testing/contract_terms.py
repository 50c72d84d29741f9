"""What a contract asks about the plugin under test, and where the runs that its tests share are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ..plugin import Plugin
from .contract_runs import Runs
from .fitting import Classes
from .toy import Toy


class Terms:
    """Attributes and methods to set or override in a subclass of ``PluginContract``; only ``plugin`` must be."""

    plugin: ClassVar[type[Plugin]]
    """The class under test."""

    name: ClassVar[str] = ""
    """What the plugin is called when it is enabled; empty: its class's name in lower case."""

    settings: ClassVar[Mapping[str, Any]] = {}
    """Settings of the plugin, beside its defaults."""

    task: ClassVar[type[Plugin]] = Toy
    """The plugin that makes the task of the runs; the plugin under test itself, if it makes one."""

    others: ClassVar[Classes] = ()
    """Further plugins without which this one cannot run, as ``fit`` takes them."""

    run: ClassVar[Mapping[str, Any]] = {}
    """Settings of the runs, nested: ``{"optim": {"lr": 0.1}}``. Records are logged every ``stride`` steps."""

    steps: ClassVar[int] = 4
    """Steps of the longest run; half of them must be a multiple of ``stride``."""

    stride: ClassVar[int] = 2
    """Steps in one of the larger dispatches."""

    volatile: ClassVar[Sequence[str]] = ()
    """Names of the plugin's own metrics and of entries of its state that no two runs share, such as seconds."""

    def data(self, folder: Path) -> Mapping[str, Any]:
        """Write what the runs read into ``folder``, once, and return settings for it: ``{"data": {"path": ...}}``."""
        return {}

    @property
    def called(self) -> str:
        """The plugin's name."""
        return self.name or self.plugin.__name__.lower()

    @property
    def runs(self) -> Runs:
        """The runs that the tests of this class share, each made when it is first asked for."""
        cls = type(self)
        if "_runs" not in vars(cls):
            setattr(cls, "_runs", Runs(self))  # noqa: B010  (one for each subclass, not an attribute to inherit)
        found = vars(cls)["_runs"]
        assert isinstance(found, Runs)
        return found
