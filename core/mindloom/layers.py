"""What config files and the command line say, merged in order; later wins, and each value's origin is kept.

Config files are data: nothing in them is imported, and nothing in them reads other files or the environment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import UserError
from .parsing import flatten


@dataclass
class Layers:
    """Raw layers merged in order, before the plugins' schemas are known.

    Attributes:
        values: nested plain dicts.
        origins: dotted key -> where its value was set last.
        enabled: plugin name -> where it was switched on, in order of first mention.
        blocked: plugins that stay off, whatever else is said.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    enabled: dict[str, str] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)

    def enable(self, name: str, origin: str) -> None:
        """Switch a plugin on, unless it is blocked."""
        if name not in self.blocked:
            self.enabled[name] = origin

    def block(self, name: str) -> None:
        """Switch a plugin off for good."""
        self.enabled.pop(name, None)
        self.blocked.add(name)

    def add(self, origin: str, content: Mapping[str, Any]) -> None:
        """Merge one layer on top."""
        content = dict(content)
        for name, section in _plugin_sections(content.pop("plugins", None), origin):
            if section is False:
                self.enabled.pop(name, None)
                continue
            if name not in self.enabled:
                self.enable(name, origin)
            if isinstance(section, Mapping):
                self.set({"plugins": {name: section}}, origin)
        self.set(content, origin)

    def set(self, content: Mapping[str, Any], origin: str) -> None:
        """Merge values without switching plugins on."""
        _refuse_resolvers(content, origin)
        _merge(self.values, content)
        self.origins.update(dict.fromkeys(flatten(content), origin))

    def origin(self, key: str) -> str:
        """Say where a setting, something in it, or the nearest section above it was set."""
        above = key
        while above:
            if above in self.origins:
                return self.origins[above]
            above = above.rpartition(".")[0]
        below = (origin for known, origin in self.origins.items() if known.startswith(f"{key}."))
        return next(below, self.enabled.get(key.removeprefix("plugins."), "default"))


def _plugin_sections(sections: Any, origin: str) -> Iterator[tuple[str, Any]]:
    """Yield name -> True, False or a mapping; a bare name (``console:``) means on with its defaults."""
    if sections is None:
        return
    if not isinstance(sections, Mapping):
        raise UserError(f"{origin}: plugins must be a mapping such as 'console: true', not {sections!r}")
    for name, section in sections.items():
        section = True if section is None else section
        if not isinstance(section, bool | Mapping):
            raise UserError(f"{origin}: plugins.{name} must be true, false or its settings, not {section!r}")
        yield str(name), section


def _merge(into: dict[str, Any], content: Mapping[str, Any]) -> None:
    for key, value in content.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = {} if isinstance(value, Mapping) else value
            if isinstance(value, Mapping):
                _merge(into[key], value)


def _refuse_resolvers(value: Any, where: str) -> None:
    """``${name:...}`` would run code or read the environment; ``${other.setting}`` only repeats another setting."""
    if isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            _refuse_resolvers(part, where)
    elif isinstance(value, str) and ":" in value.partition("${")[2]:
        raise UserError(f"{where}: {value!r} is not allowed: a setting may refer to other settings only: ${{seed}}")
