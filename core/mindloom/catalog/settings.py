"""The settings of a dataclass, for people: key, type, default and help of each, nested ones too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

MISSING = "???"
"""How OmegaConf writes that there is no default."""

ENDLESS = 1 << 30
"""Characters in a line that shall not be broken."""


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        key: its dotted name inside the section.
        type: as it is written in the source.
        default: a plain value; None if there is none and ``required``.
        required: it has no default, so every config must set it.
        interval: it counts steps between two events (see ``schema.interval``).
        help: what it is for.
    """

    key: str
    type: str
    default: Any
    required: bool
    interval: bool
    help: str

    def as_row(self) -> tuple[str, str, str, str]:
        """Cells of a table."""
        default = "must be set" if self.required else as_yaml(self.default)
        note = "counts steps" if self.interval else ""
        return self.key, self.type, default, "; ".join(filter(None, [self.help, note]))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def settings(section: DictConfig, prefix: str = "") -> Iterator[Setting]:
    """Every setting of a typed section that OmegaConf made of a dataclass, in the order of its source."""
    plain = OmegaConf.to_container(section, enum_to_str=True)
    schema = OmegaConf.get_type(section)
    assert isinstance(plain, dict)
    for found in fields(schema):  # type: ignore[arg-type]  # a dataclass
        key, value = prefix + found.name, plain[found.name]
        nested = OmegaConf.get_type(section, found.name)
        if is_dataclass(nested):
            inner = section[found.name] if value not in (None, MISSING) else OmegaConf.structured(nested)
            yield from settings(inner, f"{key}.")
            continue
        required = value == MISSING
        yield Setting(
            key,
            type_name(found.type),
            None if required else jsonable(value),
            required,
            bool(found.metadata.get("interval")),
            str(found.metadata.get("help", "")),
        )


def type_name(found: Any) -> str:
    """A type as people write it: annotations that are no texts have names that the interpreter made."""
    text = found if isinstance(found, str) else getattr(found, "__name__", "") if isinstance(found, type) else ""
    if not text or getattr(found, "__args__", None):
        text = str(found)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text)


def jsonable(value: Any) -> Any:
    """A value as JSON and YAML have it: a path is its text."""
    if isinstance(value, dict):
        return {str(key): jsonable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(part) for part in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def as_yaml(value: Any) -> str:
    """A default as a config file would write it, in one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=ENDLESS)
    return text.strip().removesuffix("...").strip()
