"""A kit for tests of plugins: what every plugin must hold to, a run in a second, and plugins that watch it.

``PluginContract`` is subclassed, once for each plugin. ``fit`` trains a small task with the plugins under test and
tells what came out. ``Toy`` and ``Pictures`` are tasks, ``Painted`` and ``Paintings`` are samples for them, ``Shelf``
keeps checkpoints in memory, ``Recorder`` and ``Watch`` look on, and ``Strides`` makes dispatches of several steps.
"""

from __future__ import annotations

from .calls import Call
from .contract import PluginContract
from .fitting import Fitted, fit
from .pictures import Painted, Paintings, Pictures, Watch
from .strides import Strides
from .toy import Numbers, Toy, ToyTask
from .watching import Recorder, Shelf

__all__ = [
    "Call",
    "Fitted",
    "Numbers",
    "Painted",
    "Paintings",
    "Pictures",
    "PluginContract",
    "Recorder",
    "Shelf",
    "Strides",
    "Toy",
    "ToyTask",
    "Watch",
    "fit",
]
