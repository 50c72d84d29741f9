"""How long a caption is to whoever reads it: measures that plugins bring, found by name like the plugins themselves.

The core knows no tokenizer. An entry point ``name = module:function`` in the group ``mindloom.measures`` leads to a
function that takes the typed settings of its plugin and returns a :class:`Measure`::

    def tokens(cfg) -> Measure: ...
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..config import build
from ..discovery import Found
from ..errors import UserError
from ..layers import Layers


class Measure(Protocol):
    """The length of captions in some unit. Called from one thread."""

    limit: int
    """The longest caption that is read to its end."""

    def __call__(self, caption: str) -> int: ...


def load_measures(layers: Layers, available: Mapping[str, Found]) -> tuple[dict[str, Measure], list[str]]:
    """Make every measure there is, and say why others cannot be made.

    The settings of the plugins that bring them leave the layers, unless such a plugin is on: they are none of the
    settings that formats have.

    Raises:
        UserError: settings were typed for the plugin of a measure, and they are wrong.
    """
    made: dict[str, Measure] = {}
    notes: list[str] = []
    for found in available.values():
        if not found.measures:
            continue
        sections = layers.values.get("plugins", {})
        section = sections.get(found.name, {}) if found.name in layers.enabled else sections.pop(found.name, {})
        own = Layers({"plugins": {found.name: section}} if section else {}, layers.origins)
        for name, target in found.measures:
            try:
                cfg = build(own, {found.name: found.load().Config}).plugins[found.name]
                made[name] = found.function(target)(cfg)
            except UserError as error:
                if section:
                    raise
                notes.append(f"captions are not measured in {name}: {error}")
    return made, notes
