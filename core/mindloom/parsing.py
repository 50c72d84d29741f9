"""Reading what people write: YAML files, ``key=value``, and single values, into nested plain dicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .errors import UserError


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


def flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of the leaves."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
