"""The command line: exit codes, errors in one line, and that nothing is lost or left behind by wrong use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mindloom import cli

ROOT = Path(__file__).parents[1]
Command = Callable[..., tuple[int, str]]
TOY = "--plugins toy --data_path ."
SOURCE = "from mindloom.testing import Toy\n\nclass Mine(Toy):\n    'The toy task.'\n"


def door(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run train.py as a person does, in an empty folder, without anything on the import path."""
    (folder / "toy.py").write_text(SOURCE)
    environment = {**os.environ, "PYTHONPATH": ""}
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *argv],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def test_a_run_from_the_shell_leaves_its_config_and_log_and_exits_with_0(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("max_steps: 2\nplugins: {toy: {samples: 8}}\n")  # settings for the file's plugin
    done = door(tmp_path, "--config", "my.yaml", "--plugins", "no:toy,./toy.py", "--data_path", ".")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "run.log"}
    assert "samples: 8" in (folder / "config.yaml").read_text()
    assert "make_task: toy" in (folder / "run.log").read_text()
    assert "finished at step 2 of 2 after" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (
            ["--plugins", "./toy.py", "max_stepz=1"],
            "there is no setting max_stepz: did you mean 'max_steps'? (max_stepz: command line)",
        ),
        (["--plugins", "./toy.py", "--data_path", "nowhere"], "there is no data at nowhere: check --data_path"),
    ],
)
def test_wrong_use_from_the_shell_is_one_line_and_exit_code_2(tmp_path: Path, argv: list[str], words: str) -> None:
    done = door(tmp_path, *argv)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith(f"mindloom: error: {words}")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("--plugins tyo", "there is no plugin 'tyo': did you mean 'toy'? (see: mindloom plugins list)"),
        ("--plugins ./none.py", "plugin file none.py does not exist"),
        ("--plugins toy optim.lrr=1", "there is no setting optim.lrr: did you mean 'lr'? (optim.lrr: command line)"),
        ("--plugins toy --seed x", "seed: Value 'x' of type 'str' could not be converted to Integer (seed: flag)"),
        ("plugins.toy.width=3", "plugins.toy.width is set but the plugin 'toy' is off: add --plugins toy"),
        ("--config none.yaml", "config file none.yaml cannot be read: No such file or directory"),
        ("--plugins toy", "no data to train on: say where it is with --data_path FOLDER"),
        ("--plugins toy --data_path none", "there is no data at none: check --data_path (data.path: flag)"),
        (f"{TOY} data.format=odd", "the dataset format 'odd' is not on: set data.format to numbers, or switch"),
        (f"{TOY} --save_path file/below", "the output folder file/below"),
        (f"{TOY} --resume latest", "resume needs a plugin that reads checkpoints"),
        (f"{TOY} --plugins shelf --resume latest", "no checkpoint latest below runs"),
        ("--plugins recorder,other --data_path .", "no plugin offers a dataset format: enable one"),
        ("max_steps", "'max_steps' is not a setting: write key=value"),
        ("--sav_path x", "there is no flag --sav_path: did you mean 'save_path'? (see: train.py --help)"),
        ("--config", "argument --config: expected one argument (see: train.py --help)"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_to_do(command: Command, argv: str, words: str) -> None:
    Path("file").write_text("not a folder")
    code, line = command(*argv.split())
    assert code == 2
    assert line.startswith(f"mindloom: error: {words}")


def test_a_run_without_a_task_is_refused(command: Command, plugin_file: Callable[[str, str], type]) -> None:
    plugin_file("data", "from mindloom.testing import Toy\nclass Data(Toy):\n    make_task = None\n")
    code, line = command("--plugins", "./data.py", "--data_path", ".")
    assert code == 2
    assert line.startswith("mindloom: error: no plugin makes a task, so there is nothing to train")


def test_config_errors_name_the_file_and_the_line(command: Command) -> None:
    Path("bad.yaml").write_text("max_steps: 5\nseed: [1\nlog_interval: 1\n")
    code, line = command("--config", "bad.yaml")
    assert code == 2
    assert "config file bad.yaml is not valid YAML" in line
    assert "line 3" in line
    Path("typo.yaml").write_text("plugins:\n  toy: {witdh: 4}\n")
    assert "did you mean 'width'? (plugins.toy.witdh: typo.yaml)" in command("--config", "typo.yaml")[1]


def test_a_folder_with_checkpoints_is_not_written_over(command: Command) -> None:
    argv = ["--plugins", "toy,shelf", "--data_path", ".", "--save_path", "out", "--save_path_with_time", "False"]
    assert command(*argv, "max_steps=1")[0] == 0
    code, line = command(*argv, "max_steps=1")
    assert code == 2
    assert "out already holds checkpoints: go on with --resume latest, or choose another --save_path" in line
    assert command(*argv, "max_steps=2", "--resume", "latest")[0] == 0


def test_a_failing_run_exits_with_1_and_points_to_its_traceback(
    command: Command, plugin_file: Callable[[str, str], type]
) -> None:
    plugin_file("bad", "class Bad(Plugin):\n    @hookimpl\n    def on_step_end(self):\n        1 / 0\n")
    argv = ["--plugins", "toy,./bad.py", "--data_path", ".", "--save_path", "out", "--save_path_with_time", "False"]
    code, line = command(*argv)
    assert code == 1
    reason = "mindloom: error: plugin 'bad' failed in on_step_end: ZeroDivisionError: division by zero"
    assert line == f"{reason} (bad.py, line 5) (without it: --plugins no:bad) (traceback: out/error.txt)"
    assert "1 / 0" in Path("out/error.txt").read_text()


def test_debug_shows_the_traceback(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main_train(["--debug", "--config", "none.yaml"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.together
def test_flags_of_plugins_are_offered_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main_train(["--help"])
    assert not stop.value.code
    text = capsys.readouterr().out
    for word in ("--save_ckpt_interval", "--config", "--plugins", "--data_path", "key=value", "examples:"):
        assert word in text


def test_plugins_are_listed_as_text_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "list"]) == 0
    text = capsys.readouterr().out
    assert cli.main(["plugins", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows} == {line.split()[0] for line in text.splitlines()[2:]}
    assert all(row["summary"] and row["version"] for row in rows)


def test_the_console_script_trains_too(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--plugins", "tyo"]) == 2
    assert "did you mean 'toy'" in capsys.readouterr().err
