"""The layered configuration: schema, files, ``key=value``, flags; later wins, and each value's origin is kept.

Config files are data: nothing in them is imported, and no resolver reads files or the environment.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .errors import UserError
from .schema import Config

Layer = tuple[str, dict[str, Any]]
"""Where it comes from, and its nested content."""


@dataclass
class Layers:
    """Raw layers merged in order, before the plugins' schemas are known.

    Attributes:
        values: nested plain dicts.
        origins: dotted key -> where its value was set last.
        enabled: plugin name -> where it was switched on, in order of first mention.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    enabled: dict[str, str] = field(default_factory=dict)

    def add(self, origin: str, content: Mapping[str, Any]) -> None:
        """Merge one layer on top."""
        content = dict(content)
        for name, section in _plugin_sections(content.pop("plugins", None), origin):
            if section is False:
                self.enabled.pop(name, None)
                continue
            self.enabled.setdefault(name, origin)
            if isinstance(section, Mapping):
                self.set({"plugins": {name: section}}, origin)
        self.set(content, origin)

    def set(self, content: Mapping[str, Any], origin: str) -> None:
        """Merge values without switching plugins on."""
        _merge(self.values, content)
        self.origins.update(dict.fromkeys(flatten(content), origin))

    def origin(self, key: str) -> str:
        """Say where a setting, or the nearest section above it, was set."""
        while key:
            if key in self.origins:
                return self.origins[key]
            key = key.rpartition(".")[0]
        return "default"


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


def flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of the leaves."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read one config file.

    Raises:
        UserError: it is missing, not YAML, or not a mapping.
    """
    try:
        content = OmegaConf.load(path)
    except OSError as error:
        raise UserError(f"config file {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise UserError(f"config file {path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, DictConfig):
        raise UserError(f"config file {path} must hold settings such as 'max_steps: 100'")
    plain = OmegaConf.to_container(content)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def parse_override(text: str) -> dict[str, Any]:
    """Turn ``a.b=1`` into ``{"a": {"b": 1}}``; the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"{text!r} is not a setting: write key=value, for example max_steps=100")
    return nest(key.strip(), parse_value(value, key))


def parse_value(text: str, key: str) -> Any:
    """Read a value as YAML does, so that ``1e-4``, ``true``, ``[a, b]`` and ``null`` mean what they say."""
    try:
        content: Any = OmegaConf.to_container(OmegaConf.create(f"value: {text}"))
        return content["value"]
    except (yaml.YAMLError, OmegaConfBaseException):
        raise UserError(f"{key}: {text!r} is not a valid value: quote it if it holds special characters") from None


def nest(key: str, value: Any) -> dict[str, Any]:
    """Turn ``"a.b"`` and a value into nested dicts."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def build(layers: Layers, sections: Mapping[str, type]) -> DictConfig:
    """Check the layers against the core's schema and the enabled plugins' and return the typed config.

    Args:
        layers: what files and command line say.
        sections: enabled plugin -> its ``Config`` dataclass.

    Raises:
        UserError: an unknown key, a value of the wrong type, or a setting for a plugin that is off.
    """
    values = dict(layers.values)
    given = dict(values.pop("plugins", {}))
    cfg = OmegaConf.structured(Config)
    cfg = _typed(cfg, values, layers, "")
    for name, schema in sections.items():
        if not is_dataclass(schema):
            raise UserError(f"plugin {name!r}: its Config must be a dataclass")
        cfg.plugins[name] = _typed(OmegaConf.structured(schema), given.pop(name, {}), layers, f"plugins.{name}.")
    for name, section in given.items():
        _refuse_off(name, section, layers)
    return cfg


def _refuse_off(name: str, section: Mapping[str, Any], layers: Layers) -> None:
    """A setting typed for a plugin that is off is a mistake; a file's section for one switched off by hand is not."""
    for key in flatten(section, f"plugins.{name}."):
        if layers.origin(key) in ("command line", "flag"):
            raise UserError(f"{key} is set but the plugin {name!r} is off: add --plugins {name}", setting=key)


def _typed(schema: DictConfig, values: Mapping[str, Any], layers: Layers, prefix: str) -> DictConfig:
    _check_keys(schema, values, layers, prefix)
    for key in flatten(values):
        try:
            schema = OmegaConf.merge(schema, nest(key, _pick(values, key)))  # type: ignore[assignment]
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{prefix}{key}: {reason}", setting=prefix + key) from None
    return schema


def _pick(values: Mapping[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def _check_keys(schema: Any, values: Mapping[str, Any], layers: Layers, prefix: str) -> None:
    for key, value in values.items():
        if key not in schema:
            raise UserError(unknown(f"setting {prefix}{key}", str(key), list(schema)), setting=prefix + str(key))
        if isinstance(value, Mapping) and isinstance(schema[key], DictConfig):
            _check_keys(schema[key], value, layers, f"{prefix}{key}.")


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Compose "there is no ...", with the nearest known name if one is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"
    return f"there is no {what}: {hint}"
