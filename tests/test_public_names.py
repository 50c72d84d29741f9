"""What plugins are written against stays: nothing in ``hooks.yaml`` goes away without a new version and a way over."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from .public_names import FROZEN, gone, public_names

RENEW = "python tests/public_names.py"


def verdict(frozen: dict[str, Any], now: dict[str, Any]) -> str:
    """What to do about a difference; empty if there is none."""
    lost = [line for line in gone(frozen, now) if not line.startswith("api: ")]
    if lost and now["api"] == frozen["api"]:
        return (
            f"plugins out there may use what is gone: {'; '.join(lost)}. Bring it back; or raise API in "
            f"core/mindloom/api.py by 1, put renamed hooks and arguments into core/mindloom/compat.py, and run {RENEW}"
        )
    return "" if frozen == now else f"new names become a promise: if they are meant to, run {RENEW}"


def test_hooks_and_public_names_are_the_frozen_ones() -> None:
    problem = verdict(yaml.safe_load(FROZEN.read_text()), public_names())
    assert not problem, problem


HOOK = {"kind": "everyone answers", "arguments": ["run", "record"], "returns": "None"}


@pytest.mark.parametrize(("hooks", "api", "words"), [
    ({"on_log": HOOK}, 1, ""),
    ({}, 1, "gone: hooks: on_log: .* raise API"),
    ({"on_log": {**HOOK, "arguments": ["run"]}}, 1, "gone: hooks: on_log: arguments: record. .* raise API"),
    ({"on_log": {**HOOK, "kind": "one answer"}}, 1, "gone: hooks: on_log: kind: everyone answers. .* raise API"),
    ({"on_log": HOOK, "on_more": HOOK}, 1, "new names .* run python tests/public_names.py"),
    ({}, 2, "new names .* run python tests/public_names.py"),
])  # fmt: skip
def test_the_verdict_tells_what_breaks_plugins_from_what_is_new(hooks: dict[str, Any], api: int, words: str) -> None:
    import re

    told = verdict({"api": 1, "hooks": {"on_log": HOOK}}, {"api": api, "hooks": hooks})
    assert re.search(words, told) if words else not told
