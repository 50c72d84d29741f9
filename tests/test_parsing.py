"""Reading what people write: YAML files and key=value, with errors in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mindloom import UserError
from mindloom.parsing import parse_override, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=1e-4", 1e-4),
        ("x=1E4", 1e4),
        ("x=true", True),
        ("x=null", None),
        ("x=[1, b]", [1, "b"]),
        ("x=a b", "a b"),
        ("x='1'", "1"),
        ("x={b: 1}", {"b": 1}),
        ("x=a=b", "a=b"),
    ],
)
def test_values_mean_what_yaml_says(text: str, value: Any) -> None:
    assert parse_override(text) == {"x": value}


@pytest.mark.parametrize(("text", "words"), [("max_steps", "write key=value"), ("=3", "write key=value")])
def test_an_override_without_key_or_value_is_refused(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_override(text)


@pytest.mark.parametrize("text", ["x=[1", "x=a: b", "x=${"])
def test_an_override_that_is_no_yaml_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a valid value"):
        parse_override(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_steps: [1\nseed: 2", "line 2"),
        ("- a\n- b", "must hold settings"),
        ("a: 1\na: 2", "duplicate key"),
        ("a: ${", "is not valid YAML"),
        ("a: !!python/object/apply:os.system ['true']", "is not valid YAML"),
        ("\xff\xfe", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_config_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=words) as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)
    assert "bad.yaml" in str(caught.value)


def test_a_missing_or_unreadable_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_yaml(path)


def test_an_empty_file_is_an_empty_layer(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert read_yaml(path) == {}
