"""Switching plugins: in files, on the command line, by flags; what is refused and what is tolerated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mindloom import Plugin, UserError
from mindloom.config import build
from mindloom.discovery import Found
from mindloom.flags import apply_flags
from mindloom.layers import Layers
from mindloom.schema import setting
from mindloom.session import load_plugins

SINK = Found("sink", "sink:Sink", "1", "", "test", "", (("data_sink", "sink"), ("sink_size", "sink:size")))
AVAILABLE = {"sink": SINK, "board": Found("board", "board:Board", "1", "", "test")}


@dataclass
class Section:
    size: int = setting(100, "steps in a dispatch")


def stack(*files: Mapping[str, Any], **typed: Any) -> Layers:
    """Layers of files ``file1``, ``file2``, ... and of a command line."""
    layers = Layers()
    for number, content in enumerate(files, 1):
        layers.add(f"file{number}", content)
    apply_flags(layers, typed, AVAILABLE)
    return layers


def built(layers: Layers) -> Any:
    return build(layers, dict.fromkeys(layers.enabled, Section))


def refusal(*files: Mapping[str, Any], **typed: Any) -> tuple[str, str]:
    """The error's message, and where the setting that it blames was set."""
    layers = stack(*files, **typed)
    with pytest.raises(UserError) as caught:
        built(layers)
    return str(caught.value), layers.origin(caught.value.setting)


def test_plugins_are_switched_on_by_true_null_or_settings_and_off_by_false() -> None:
    assert list(stack({"plugins": {"a": True, "b": None, "c": {"size": 3}, "d": False}}).enabled) == ["a", "b", "c"]


def test_plugin_sections_of_several_files_merge_by_key() -> None:
    layers = stack({"plugins": {"sink": {"size": 5}, "board": True}}, {"plugins": {"sink": True, "board": False}})
    assert list(layers.enabled) == ["sink"]
    assert built(layers).plugins.sink.size == 5


@pytest.mark.parametrize("plugins", [["sink"], "sink", 3])
def test_plugins_must_be_a_mapping(plugins: Any) -> None:
    with pytest.raises(UserError, match="file1: plugins must be a mapping"):
        stack({"plugins": plugins})


def test_a_plugin_section_must_be_a_switch_or_settings() -> None:
    with pytest.raises(UserError, match=r"file1: plugins\.sink must be true, false or its settings, not 3"):
        stack({"plugins": {"sink": 3}})


def test_the_command_line_adds_and_removes_plugins() -> None:
    layers = stack({"plugins": {"board": True}}, plugins=["sink,no:board"])
    assert layers.enabled == {"sink": "command line"}


def test_a_removed_plugin_is_blocked_for_flags_and_files_that_come_later() -> None:
    layers = stack({"plugins": {"sink": True}}, plugins=["no:sink"], data_sink="True")
    layers.add("file2", {"plugins": {"sink": {"size": 3}}})
    assert layers.enabled == {}


def test_a_plugin_file_takes_the_place_of_its_name_in_a_config_file() -> None:
    assert list(stack({"plugins": {"mine": {"size": 3}}}, plugins=["./mine.py"]).enabled) == ["./mine.py"]


def test_adding_and_removing_one_plugin_at_once_is_refused() -> None:
    with pytest.raises(UserError, match="both adds and removes sink"):
        stack(plugins=["sink", "no:sink"])


@pytest.mark.parametrize("wish", ["snik", "no:snik"])
def test_an_unknown_plugin_suggests_the_nearest(wish: str) -> None:
    with pytest.raises(UserError, match="there is no plugin 'snik': did you mean 'sink'"):
        stack(plugins=[wish])


def test_an_unknown_plugin_of_a_file_names_the_file() -> None:
    layers = stack({"plugins": {"snik": True}})
    with pytest.raises(UserError, match="did you mean 'sink'") as caught:
        load_plugins(layers, AVAILABLE)
    assert layers.origin(caught.value.setting) == "file1"


@pytest.mark.parametrize("switch", ["true", "false", "null", "3"])
def test_plugins_cannot_be_switched_by_key_value(switch: str) -> None:
    with pytest.raises(UserError, match="switch plugins with --plugins"):
        stack(overrides=[f"plugins.sink={switch}"])


def test_a_typed_setting_for_a_plugin_that_is_off_is_refused() -> None:
    message, origin = refusal(overrides=["plugins.sink.size=5"])
    assert "plugins.sink.size is set but the plugin 'sink' is off: add --plugins sink" in message
    assert origin == "command line"
    assert "is off" in refusal(sink_size="5")[0]


def test_a_files_section_of_a_plugin_removed_by_hand_is_tolerated() -> None:
    assert "sink" not in built(stack({"plugins": {"sink": {"size": 5}}}, plugins=["no:sink"])).plugins


def test_flags_of_plugins_switch_and_set_them() -> None:
    layers = stack(data_sink="True", sink_size="7")
    assert built(layers).plugins.sink.size == 7
    assert stack({"plugins": {"sink": True}}, data_sink="False").enabled == {}
    with pytest.raises(UserError, match="--data_sink takes True or False, not 'maybe'"):
        stack(data_sink="maybe")


def test_a_plugins_flag_may_hold_a_dash_and_cannot_take_a_core_flag() -> None:
    greedy = Found("greedy", "g:G", "1", "", "test", "", (("seed", "greedy"), ("be-greedy", "greedy")))
    layers = Layers()
    apply_flags(layers, {"seed": "5", "be_greedy": "True"}, {"greedy": greedy})
    assert layers.values == {"seed": 5}
    assert list(layers.enabled) == ["greedy"]


def test_only_the_command_line_may_run_a_plugin_file(plugin_file: Callable[[str, str], type[Plugin]]) -> None:
    plugin_file("logger", "class Logger(Plugin): pass\n")
    with pytest.raises(UserError, match=r"file1 names the plugin file ./logger.py: only the command line"):
        load_plugins(stack({"plugins": {"./logger.py": True}}), AVAILABLE)
    assert list(load_plugins(stack(plugins=["./logger.py"]), AVAILABLE)) == ["logger"]
    # Settings may stand in a file under the plugin's name.
    layers = stack(plugins=["./logger.py"], overrides=["plugins.logger.size=3"])
    assert build(layers, {"logger": Section}).plugins.logger.size == 3


def test_two_plugins_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "twin.py").write_text("from mindloom import Plugin\nclass Twin(Plugin): pass\n")
    with pytest.raises(UserError, match="two plugins are called 'twin'"):
        load_plugins(stack(plugins=["a/twin.py,b/twin.py"]), AVAILABLE)
