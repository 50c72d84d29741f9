"""What pages say about hooks, plugins, settings and flags is compared with the code."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from mindloom.hooks import HookSpecs
from mindloom.schema import Config

from .pages import ROOT, blocks, calls, pages, read, spans, tables

pytestmark = pytest.mark.together
EVERY = pytest.mark.parametrize("page", pages(), ids=lambda path: str(path.relative_to(ROOT)))
HOOKS = {name for name in vars(HookSpecs) if not name.startswith("_")}
EXAMPLES = {"my_logger": {"path"}, "my_format": {"column"}}
"""Plugins that pages make up without writing them down, and their settings."""
FOREIGN = {"--help", "--logdir", "--no-deps"}
"""Flags of other programs that pages mention in a sentence."""
TOOLS = {path.stem for path in (ROOT / "tools").glob("*.py")}
SUFFIXES = {"csv", "tsv", "json", "jsonl", "tar"}


def reference() -> ModuleType:
    """The tool that writes the reference."""
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "tools" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = reference()
markdown, commands = sys.modules["reference.markdown"], sys.modules["reference.commands"]


@cache
def settings() -> dict[str, Any]:
    """Every setting of the core and of the bundled plugins, with its default."""
    found = {found.name: default(found) for found in fields(Config)}
    sections = {key: type(value) for key, value in found.items() if is_dataclass(value)}
    sections |= {f"plugins.{name}": plugin.Config for name, (_, plugin) in markdown.bundled().items()}
    for prefix, section in sections.items():
        found |= {f"{prefix}.{field.name}": default(field) for field in fields(section)}
    return found


def default(found: Any) -> Any:
    return found.default_factory() if found.default_factory is not MISSING else found.default


@cache
def made_up() -> dict[str, set[str]]:
    """Plugins that the pages write down themselves, and what their settings may be called."""
    files = {Path(name).stem: text for page in pages() for name, text in read(page).files.items()}
    return EXAMPLES | {name: set(re.findall(r"(\w+): \w+ = ", text)) for name, text in files.items()}


@pytest.mark.parametrize("name", sorted(TOOL.PAGES))
def test_the_reference_is_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs" / "reference" / name).read_text() == TOOL.pages()[name], f"run: {TOOL.COMMAND}"


def test_the_reference_tells_all_hooks_and_bundled_plugins() -> None:
    hooks = (ROOT / "docs" / "reference" / "hooks.md").read_text()
    assert set(re.findall(r"(?m)^## (\w+)", hooks)) == HOOKS
    rows = tables(ROOT / "docs" / "reference" / "plugins.md")[0][1:]
    assert {path.parent.name for path in ROOT.glob("plugins/*/setup.cfg")} < {
        re.sub(r"\W.*", "", row[0].strip("[`")) for row in rows
    }


def test_the_readme_lists_every_plugin_and_draws_every_hook() -> None:
    (rows,) = [table[1:] for table in tables(ROOT / "README.md") if table[0] == ["plugin", "what it does"]]
    listed = [re.match(r"\[(\w+)\]\(plugins/(\w+)/README\.md\)", row[0]) for row in rows]
    assert sorted(found[1] for found in listed if found and found[1] == found[2]) == sorted(
        path.parent.name for path in ROOT.glob("plugins/*/setup.cfg")
    )
    (drawing,) = [text for _, text in blocks(ROOT / "README.md") if "BUILD TIME" in text]
    assert set(re.findall(r"\b(?:on|make|add|edit)_\w+", drawing)) == HOOKS


@EVERY
def test_every_hook_that_is_named_exists(page: Path) -> None:
    named = {name for span in spans(page) for name in re.findall(r"\b(?:on|make|add|edit)_[a-z_]+\b", span)}
    assert {name for name in named if not name.endswith("_x")} <= HOOKS | TOOLS


@EVERY
def test_every_setting_that_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name, key in re.findall(r"\bplugins\.([a-z_0-9]+)\.([a-z_]+)\b", text):
        assert f"plugins.{name}.{key}" in settings() or key in made_up().get(name, ()), f"plugins.{name}.{key}"
    for span in spans(page):
        for section, key in re.findall(r"(?<![\w./])(data|optim|device)\.([a-z_]+)\b", span):
            assert f"{section}.{key}" in settings() or key in SUFFIXES, f"{section}.{key}"


@EVERY
def test_commands_set_what_exists(page: Path) -> None:
    known = commands.commands()
    for language, text in blocks(page):
        for argv in calls(text) if language in ("shell", "bash") else []:
            name = " ".join(argv[:2]) if " ".join(argv[:2]) in known else argv[0]
            assert name in known, argv
            flags = known[name][0]._option_string_actions
            for word in argv[1:]:
                key = word.partition("=")[0]
                assert not word.startswith("--") or key in flags, f"{name}: {word}"
                if re.fullmatch(r"[a-z_.]+=.*", word) and not key.startswith("plugins."):
                    assert key in settings(), word


@EVERY
def test_flags_in_sentences_exist(page: Path) -> None:
    named = {flag for span in spans(page) for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", span)}
    assert named <= commands.flags() | FOREIGN


@EVERY
def test_yaml_sets_what_exists(page: Path) -> None:
    for language, text in blocks(page):
        if language == "yaml":
            check_keys(yaml.safe_load(text))


def check_keys(values: Mapping[str, Any], prefix: str = "") -> None:
    for key, value in values.items():
        dotted = f"{prefix}{key}"
        if prefix == "plugins.":
            assert key in markdown.bundled(), key
        else:
            assert dotted in settings(), dotted
        if isinstance(value, Mapping) and (prefix == "plugins." or dotted in ("plugins", "data", "optim", "device")):
            check_keys(value, f"{dotted}.")


@pytest.mark.parametrize("name", sorted(path.parent.name for path in ROOT.glob("plugins/*/setup.cfg")))
def test_a_plugins_readme_tells_every_setting_with_its_default(name: str) -> None:
    """Where a table's first column is called "setting", possibly with the section that all of it belongs to."""
    told: dict[str, str] = {}
    for head, *rows in tables(ROOT / "plugins" / name / "README.md"):
        if not head[0].startswith("setting"):
            continue
        column = head.index("default")
        for row in rows:
            keys, values = re.findall(r"`([^`]+)`", row[0]), row[column].split(", ")
            values = values if len(values) == len(keys) else [row[column]] * len(keys)
            told |= {key.removeprefix(f"plugins.{name}."): value for key, value in zip(keys, values, strict=True)}
    told.pop(f"plugins.{name}", None)
    wanted = {field.name: default(field) for field in fields(markdown.bundled()[name][1].Config)}
    assert set(told) == set(wanted)
    for key, value in wanted.items():
        text = told[key].strip("`").strip('"')
        assert text == (value if isinstance(value, str) else json.dumps(value)) or as_number(text) == value, key


def as_number(text: str) -> Any:
    return yaml.safe_load(text.replace(" ", "")) if text else None
