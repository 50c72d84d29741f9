"""Trust: config files and checkpoints are data. Nothing in them is imported or run, or reads the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mindloom import UserError, cli
from mindloom.config import build
from mindloom.layers import Layers
from mindloom.testing import fit

Command = Callable[..., tuple[int, str]]
TOY = "--plugins toy --data_path . --save_path out --save_path_with_time False max_steps=1"
ERROR = "mindloom: error: "


@pytest.fixture(autouse=True)
def _traps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module and a plugin file that tell when they are run, and a secret."""
    (tmp_path / "trap.py").write_text("open('ran', 'w').close()\nfrom mindloom import Plugin\nclass A(Plugin): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SECRET", "hunter2")


def refused(command: Command, *argv: str) -> str:
    """The error of a command line, which must have run and told nothing."""
    code, line = command(*argv)
    assert code == 2
    assert line.startswith(ERROR)
    assert not Path("ran").exists()
    assert "trap" not in sys.modules
    assert "hunter2" not in line
    return line.removeprefix(ERROR)


@pytest.mark.parametrize(("text", "words"), [
    ("_target_: trap.A", "there is no setting _target_"),
    ("data: {_target_: trap.A, path: .}", "there is no setting data._target_"),
    ("plugins: {toy: {_target_: trap.A}}", "there is no setting plugins.toy._target_"),
    ("plugins: {toy: {class_path: 'trap:A'}}", "there is no setting plugins.toy.class_path"),
    ("plugins: {'trap:A': true}", "there is no plugin 'trap:A'"),
    ("plugins: {trap.A: {}}", "there is no plugin 'trap.A'"),
    ("plugins: {./trap.py: true}", "evil.yaml names the plugin file ./trap.py: only the command line may run files"),
    ("plugins: {trap: true}", "there is no plugin 'trap'"),
    ("seed: !!python/object/apply:trap.A []", "config file evil.yaml is not valid YAML"),
    ("seed: !!python/name:trap.A", "config file evil.yaml is not valid YAML"),
    ("seed: !!python/module:trap", "config file evil.yaml is not valid YAML"),
    ("? !!python/object/new:trap.A []\n: 1", "config file evil.yaml is not valid YAML"),
])  # fmt: skip
def test_nothing_in_a_config_file_is_imported(command: Command, text: str, words: str) -> None:
    Path("evil.yaml").write_text(text)
    assert refused(command, "--config", "evil.yaml").startswith(words)
    home = Path("old")  # and the same where a run left it, or a checkpoint with a config of its own
    home.mkdir()
    (home / "config.yaml").write_text(text)
    assert refused(command, "--resume", "old").startswith(words.replace("evil.yaml", "old/config.yaml"))
    (home / "run.log").touch()
    assert refused(command, "--resume", "old").startswith(words.replace("evil.yaml", "old/config.yaml"))


def test_a_target_in_a_free_setting_stays_a_string(command: Command) -> None:
    Path("evil.yaml").write_text("weight: trap:A\nsave_path: trap.A\ndata: {path: '_target_: trap.A'}\n")
    assert refused(command, "--config", "evil.yaml", "--plugins", "toy").startswith("there is no data at _target_")


READS = [
    *("${oc.env:SECRET}", "${ oc.env : SECRET }", "${\toc.env:SECRET}", "a${oc.env:SECRET}b", "x: ${oc.env:SECRET}"),
    *("${seed}${oc.env:SECRET}", "\\${oc.env:SECRET}", "${data[${oc.env:SECRET}]}"),
]
"""Reads the environment, and does nothing else."""
RUNS = [
    *("${oc.${weight}:SECRET}", "${${weight}:SECRET}", "${oc.decode:'1'}", "${oc.env:SECRET,${seed}}", "${oc.env:}"),
    *("${oc.select:seed}", "${oc.create:{}}", "${oc.dict.keys:data}", "${oc.deprecated:seed}", "${eval:1}", "${a:b"),
    *("${oc.env:SECRET}${oc.decode:1}", "${${oc.env:SECRET}:1}", "${oc.env:SECRET,${eval:1}}", "${oc.env:'SECRET'}"),
]


@pytest.mark.parametrize("text", READS + RUNS)
@pytest.mark.parametrize("place", [
    lambda text: {"save_path": text}, lambda text: {text: 1}, lambda text: {"data": {text: {"a": 1}}},
    lambda text: {"plugins": {"toy": {"any": ["a", {"b": [text]}]}}},
])  # fmt: skip
def test_whatever_calls_a_resolver_is_refused_in_values_lists_and_keys(place: Any, text: str) -> None:
    with pytest.raises(UserError, match=r"^my.yaml: .* is not allowed: a setting may refer to other settings only"):
        Layers().add("my.yaml", place(text))


@pytest.mark.parametrize(("text", "value"), [
    ("${data.path}/a:b", "./a:b"), ("costs ${seed}: 5", "costs 42: 5"), ("s3://a:b/${seed}", "s3://a:b/42"),
    ("a: {b: ${ seed }}", "a: {b: 42}"), ("${seed}}:", "42}:"), ("C:\\$dir", "C:\\$dir"), ("${seed}:${seed}", "42:42"),
    ("{a:b}", "{a:b}"), ("$(oc.env:SECRET)", "$(oc.env:SECRET)"), ("$oc.env:SECRET", "$oc.env:SECRET"),
])  # fmt: skip
def test_a_colon_outside_of_a_reference_is_text(text: str, value: str) -> None:
    layers = Layers()
    layers.add("my.yaml", {"save_path": text, "data": {"path": "."}})
    assert build(layers, {}).save_path == value


@pytest.mark.parametrize("parts", [
    {"save_path": "$${weight}", "weight": "{oc.env:SECRET}"},
    {"save_path": "${resume}{oc.env:SECRET}", "resume": "$", "weight": "${save_path}"},
    {"save_path": "\\${seed}"},
])  # fmt: skip
def test_a_reference_put_together_from_parts_is_refused_and_never_followed(parts: dict[str, str]) -> None:
    layers = Layers()
    layers.add("my.yaml", parts)
    with pytest.raises(
        UserError, match=r"^(save_path|weight): '\${.*}' is not allowed: references cannot be put together"
    ):
        build(layers, {})


def test_resolvers_are_refused_in_a_saved_config_and_on_the_command_line_too(command: Command) -> None:
    assert command(*TOY.split())[0] == 0
    with Path("out/config.yaml").open("a") as file:
        file.write("weight: ${oc.env:SECRET}\n")
    text = Path("out/config.yaml").read_text().replace("weight: ''\n", "")
    Path("out/config.yaml").write_text(text)
    remedy = "a setting may refer to other settings only: ${seed}; --allow-env lets it read the environment"
    line = refused(command, "--resume", "out")
    assert line == f"out/config.yaml: '${{oc.env:SECRET}}' is not allowed: {remedy}"
    line = refused(command, *TOY.split(), "--weight", "${oc.env:SECRET}")
    assert line == f"flag: '${{oc.env:SECRET}}' is not allowed: {remedy}"


def test_the_command_line_may_switch_the_environment_on_and_nothing_else(command: Command) -> None:
    Path("my.yaml").write_text("save_path: out/${oc.env:PLACE,here}-${seed}\nseed: 7\n")
    words = "--plugins toy --data_path . --save_path_with_time False max_steps=1 --config my.yaml"
    argv = words.split()
    assert "'out/${oc.env:PLACE,here}-${seed}' is not allowed" in refused(command, *argv)
    assert command(*argv, "--allow-env")[0] == 0
    saved = yaml.safe_load(Path("out/here-7/config.yaml").read_text())
    assert saved["save_path"] == "out/here-7"
    for text in READS:
        Layers(allow_env=True).add("my.yaml", {"save_path": text})
    for text in RUNS:
        with pytest.raises(UserError, match="is not allowed"):
            Layers(allow_env=True).add("my.yaml", {"save_path": text})
    Path("my.yaml").write_text("allow_env: true\nallow-env: true\n")
    assert "there is no setting allow_env" in refused(command, *argv)


def test_a_variable_cannot_smuggle_a_reference_in(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "${oc.env:SECRET}")
    Path("my.yaml").write_text("weight: ${oc.env:PLACE}\nresume: ${weight}\n")
    line = refused(command, "--plugins", "toy", "--config", "my.yaml", "--allow-env")
    assert "weight: '${oc.env:SECRET}' is not allowed: references cannot be put together from parts" in line


def test_an_absent_variable_is_named(command: Command) -> None:
    Path("my.yaml").write_text("weight: ${oc.env:NO_SUCH}\n")
    line = refused(command, "--plugins", "toy", "--config", "my.yaml", "--allow-env")
    assert line.startswith("weight: ")
    assert "Environment variable 'NO_SUCH' not found" in line


@pytest.mark.together
def test_resuming_a_run_that_had_a_plugin_from_a_file_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/my_logger.py").write_text("from mindloom import Plugin\nclass MyLogger(Plugin): pass\n")
    assert cli.main_train([*TOY.split(), "--plugins", "checkpoint,./elsewhere/my_logger.py"]) == 0
    Path("elsewhere/my_logger.py").rename("my_logger.py")
    again = ["--resume", "out", "max_steps=2"]
    capsys.readouterr()
    assert cli.main_train(again) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"{ERROR}there is no plugin 'my_logger': ")
    remedy = "--plugins ./my_logger.py"
    assert f"if it is a file, add {remedy})" in line
    assert cli.main_train([*again, *remedy.split()]) == 0
    assert Path("out/config-resumed-at-00000001.yaml").exists()


def test_a_file_here_that_is_called_like_an_unknown_plugin_is_pointed_out(command: Command) -> None:
    line = refused(command, "--plugins", "trap")
    assert "there is no plugin 'trap'" in line
    assert "if it is a file, add --plugins ./trap.py)" in line


@pytest.mark.together
def test_loading_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    script = Path(__file__).with_name("loading.py")
    done = subprocess.run([sys.executable, script, tmp_path], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout) == {"events": ["compile (b'1', 'self-test')"], "evil": False}


@pytest.mark.together
def test_the_config_of_a_hostile_checkpoint_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mindloom_checkpoint import Checkpoint

    fitted = fit(tmp_path, [Checkpoint], steps=1)
    (place,) = (fitted.path / "checkpoints").glob("step-*")
    for text in ("x: !!python/object/apply:trap.A []", "plugins: {./trap.py: true}", "weight: '${oc.env:SECRET}'"):
        (place / "config.yaml").write_text(text)
        assert cli.main_train(["--resume", str(place)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "hunter2" not in said
    assert not Path("ran").exists()
    assert "SECRET" in os.environ
