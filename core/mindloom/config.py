"""The typed configuration: the layers checked against the core's schema and those of the enabled plugins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .blame import summary
from .errors import UserError, unknown
from .layers import Layers
from .parsing import flatten
from .references import refuse_built
from .schema import Config


def build(layers: Layers, sections: Mapping[str, type]) -> DictConfig:
    """Check the layers against the core's schema and the enabled plugins' and return the typed config.

    Args:
        layers: what files and command line say.
        sections: enabled plugin -> its ``Config`` dataclass.

    Raises:
        UserError: an unknown key, a value of the wrong type, a setting for a plugin that is off, or settings that the
            ``__post_init__`` of their ``Config`` refuses.
    """
    values = dict(layers.values)
    given = dict(values.pop("plugins", {}))
    cfg = _typed(OmegaConf.structured(Config), values, "")
    for name, schema in sections.items():
        cfg.plugins[name] = _typed(section_of(name, schema), given.pop(name, {}), f"plugins.{name}.")
    for name, section in given.items():
        _refuse_off(name, section, layers)
    cfg = _resolved(cfg)
    for name in sections:
        _checked(name, cfg.plugins[name])
    return cfg


def section_of(name: str, schema: type) -> DictConfig:
    """The typed section of a plugin, with its defaults.

    Raises:
        UserError: its ``Config`` is no dataclass, or has fields of a type that a config cannot hold.
    """
    if not is_dataclass(schema):
        raise UserError(f"plugin {name!r}: its Config must be a dataclass: write @dataclass above it")
    try:
        return OmegaConf.structured(schema)
    except OmegaConfBaseException as error:
        field = f": its field {error.full_key!r}" if error.full_key else ""
        raise UserError(f"plugin {name!r}: its Config cannot be used{field}: {_first_line(error)}") from error
    except (NameError, SyntaxError, TypeError) as error:  # a type in quotes that nobody can look up
        missing = str(error).partition("'")[2].partition("'")[0]  # OmegaConf makes the error again, without its name
        written = [each.name for each in fields(schema) if missing and missing in str(each.type)]
        named = f": its field {written[0]!r}" if written else ""
        raise UserError(
            f"plugin {name!r}: its Config cannot be used{named}: {_first_line(error)}: write types that its module has"
        ) from error


def _checked(name: str, section: DictConfig) -> None:
    """Let ``__post_init__`` look at the settings. It cannot set any: ``cfg`` is what is logged and saved."""
    if not _looks(section):
        return
    try:
        looked = OmegaConf.structured(OmegaConf.to_object(section))
    except UserError:
        raise
    except ValueError as error:
        reason = _first_line(error) if str(error) else "its __post_init__ refuses the settings"
        raise UserError(f"plugin {name!r}: {reason}", setting=f"plugins.{name}") from error
    except Exception as error:
        raise UserError(f"plugin {name!r}: the __post_init__ of its Config fails: {summary(error)}") from error
    if OmegaConf.to_yaml(looked) != OmegaConf.to_yaml(section):
        raise UserError(f"plugin {name!r}: the __post_init__ of its Config changes settings: do that in on_configure")


def _looks(section: DictConfig) -> bool:
    inner = [section[key] for key in section if is_dataclass(OmegaConf.get_type(section, str(key)))]
    return hasattr(_schema(section), "__post_init__") or any(_looks(each) for each in inner if each is not None)


def _resolved(cfg: DictConfig) -> DictConfig:
    """Replace references such as ``${seed}`` by what they refer to, and refuse settings that nobody set."""
    try:
        refuse_built(OmegaConf.to_container(cfg, resolve=True))
        OmegaConf.resolve(cfg)
    except OmegaConfBaseException as error:
        key = str(error.full_key or _unresolvable(cfg))
        raise UserError(f"{key}: {_first_line(error)}", setting=key) from None
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        have = "has" if len(missing) == 1 else "have"
        wanted = " ".join(f"{key}=VALUE" for key in missing)
        raise UserError(f"{', '.join(missing)} {have} no default and must be set: add {wanted}")
    return cfg


def _unresolvable(cfg: DictConfig) -> str:
    """The first setting whose reference leads nowhere; OmegaConf 2.3 does not tell."""
    content = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(content, dict)
    for key in flatten({str(name): value for name, value in content.items()}):
        try:
            OmegaConf.select(cfg, key)
        except OmegaConfBaseException:
            return key
    return ""


def _refuse_off(name: str, section: Mapping[str, Any], layers: Layers) -> None:
    """A setting typed for a plugin that is off is a mistake; a file's section for one switched off by hand is not."""
    for key in flatten(section, f"plugins.{name}."):
        if layers.origin(key) in ("command line", "flag"):
            raise UserError(f"{key} is set but the plugin {name!r} is off: add --plugins {name}", setting=key)


def _typed(schema: DictConfig, values: Mapping[str, Any], prefix: str) -> DictConfig:
    for path, leaf in _leaves(schema, values, prefix):
        key, value = prefix + ".".join(path), leaf
        for part in reversed(path):
            value = {part: value}
        try:
            schema = OmegaConf.merge(schema, value)  # type: ignore[assignment]
        except (OmegaConfBaseException, TypeError) as error:  # a TypeError: a mapping where a list should be
            reason = f"{key}: {_first_line(error)}"
            if OmegaConf.is_list(OmegaConf.select(schema, ".".join(path))) and not isinstance(leaf, list):
                example = "[] for none" if leaf is None else f"[{leaf}]"
                reason = f"{key} must be a list, not {leaf!r}: write it in brackets, such as {example}"
            raise UserError(reason, setting=key) from None
    return schema


def _leaves(schema: DictConfig, values: Mapping[str, Any], prefix: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if key not in schema:
            raise UserError(unknown(f"setting {prefix}{key}", str(key), map(str, schema)), setting=prefix + str(key))
        if not is_dataclass(OmegaConf.get_type(schema, key)):
            yield (key,), value
        elif isinstance(value, Mapping):
            for path, leaf in _leaves(schema[key], value, f"{prefix}{key}."):
                yield (key, *path), leaf
        elif value is not None:  # a section without settings (``data:``) is empty
            raise UserError(
                f"{prefix}{key} holds settings such as {next(iter(schema[key]))}, not {value!r}", setting=prefix + key
            )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _schema(section: DictConfig) -> type:
    found = OmegaConf.get_type(section)
    assert is_dataclass(found)
    assert isinstance(found, type)
    return found


def intervals(cfg: DictConfig) -> dict[str, int]:
    """Every setting that counts steps between events (see ``schema.interval``), of the core and of enabled plugins."""
    sections = {"": cfg, **{f"plugins.{name}.": section for name, section in cfg.plugins.items()}}
    return {
        prefix + found.name: int(section[found.name])
        for prefix, section in sections.items()
        for found in fields(_schema(section))
        if found.metadata.get("interval")
    }
