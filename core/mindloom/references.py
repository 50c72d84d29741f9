"""What ``${...}`` in a setting may be: another setting's name. Not a resolver, which would run code or read things.

OmegaConf calls a resolver where a ``:`` follows the name: ``${oc.env:HOME}``. A ``:`` outside of the braces is text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .errors import UserError

ENVIRONMENT = re.compile(r"\$\{\s*oc\.env\s*:\s*\w+\s*(,[^${}:'\"\\]*)?\}")
"""A variable of the environment, perhaps with a default in plain words: the one resolver that can be switched on."""


def resolves(text: str) -> bool:
    """Whether a resolver would be called, nested ones included."""
    depth = 0
    for token in re.findall(r"\$\{|[:}]", text):
        if token == ":" and depth:
            return True
        depth += {"${": 1, ":": 0, "}": -1 if depth else 0}[token]
    return False


def refuse_resolvers(value: Any, where: str, allow_env: bool) -> None:
    """Refuse content, keys too, that would do more than to repeat another setting.

    Args:
        value: anything that YAML can hold.
        where: it was written.
        allow_env: let it read variables of the environment.

    Raises:
        UserError: a resolver would be called.
    """
    if isinstance(value, Mapping):
        for part in (*value.keys(), *value.values()):
            refuse_resolvers(part, where, allow_env)
    elif isinstance(value, list):
        for part in value:
            refuse_resolvers(part, where, allow_env)
    elif isinstance(value, str) and resolves(value):
        only_env = not resolves(ENVIRONMENT.sub("", value))
        if only_env and allow_env:
            return
        remedy = "; --allow-env lets it read the environment" if only_env else ""
        raise UserError(
            f"{where}: {value!r} is not allowed: a setting may refer to other settings only: ${{seed}}{remedy}"
        )


def refuse_built(value: Any, key: str = "") -> None:
    """Refuse resolved content that holds a reference again, put together from parts, which OmegaConf would follow.

    Raises:
        UserError: there is one.
    """
    if isinstance(value, Mapping | list):
        for name, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            refuse_built(part, f"{key}.{name}" if key else str(name))
    elif isinstance(value, str) and "${" in value:
        raise UserError(f"{key}: {value!r} is not allowed: references cannot be put together from parts", setting=key)
