"""What plugins are written against, as it is now; ``python tests/public_names.py`` writes it into ``hooks.yaml``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

FROZEN = Path(__file__).with_name("hooks.yaml")
HEAD = "# What plugins are written against. Renew it: python tests/public_names.py (see tests/test_public_names.py)\n"


def public_names() -> dict[str, Any]:
    """Version, hooks with their kinds and arguments, and public names."""
    import mindloom
    from mindloom import api, testing
    from mindloom.hooks import HookSpecs
    from mindloom.signatures import HOOKS

    hooks = {}
    for name, arguments in HOOKS.items():
        spec = getattr(HookSpecs, name)
        kind = "one answer" if spec.mindloom_spec["firstresult"] else "everyone answers"
        hooks[name] = {"kind": kind, "arguments": list(arguments), "returns": spec.__annotations__["return"]}
    return {
        "api": api.API,
        "hooks": hooks,
        "mindloom": sorted(mindloom.__all__),
        "mindloom.Plugin": sorted(name for name in dir(mindloom.Plugin("")) if not name.startswith("_")),
        "mindloom.testing": sorted(testing.__all__),
    }


def gone(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Every name or value that was there before and is not now; what is new does not count."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key, value in before.items():
            yield from gone(value, now.get(key), f"{path}{key}: ")
    elif isinstance(before, list) and isinstance(now, list):
        yield from (f"{path}{item}" for item in before if item not in now)
    elif before != now:
        yield f"{path}{before}"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "core"))
    FROZEN.write_text(HEAD + yaml.safe_dump(public_names(), sort_keys=False, default_flow_style=None, width=120))
