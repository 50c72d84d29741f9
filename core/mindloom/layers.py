"""What config files and the command line say, merged in order; later wins, and each value's origin is kept.

Config files are data: nothing in them is imported, and nothing in them reads other files, or the environment unless the
command line allows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import UserError
from .parsing import flatten
from .references import refuse_resolvers


@dataclass
class Layers:
    """Raw layers merged in order, before the plugins' schemas are known.

    Attributes:
        values: nested plain dicts.
        origins: dotted key -> where its value was set last.
        enabled: plugin name -> where it was switched on, in order of first mention.
        blocked: plugins that stay off, whatever else is said.
        allow_env: settings may read variables of the environment.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    enabled: dict[str, str] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    allow_env: bool = False

    def enable(self, name: str, origin: str) -> None:
        """Switch a plugin on, unless it is blocked."""
        if name not in self.blocked:
            self.enabled[name] = origin

    def block(self, name: str) -> None:
        """Switch a plugin off for good; one from a file goes by the file's name."""
        for known in [known for known in self.enabled if name in (known, plugin_name(known))]:
            del self.enabled[known]
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
        refuse_resolvers(content, origin, self.allow_env)
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


def plugin_name(wish: str) -> str:
    """What a plugin is called that was asked for by its name or by its file."""
    return Path(wish).stem if wish.endswith(".py") else wish


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
