"""``mindloom plugins explain``: who does what and in which order, and every conflict of a config at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mindloom import cli

Explain = Callable[..., tuple[int, Any, str]]
ROOT = Path(__file__).parents[1]

NET = """
from dataclasses import dataclass
from pathlib import Path
from mindloom import Plugin, hookimpl
from mindloom.task import Task

class Net(Plugin):
    @dataclass
    class Config:
        layers: int = 3

    @hookimpl
    def make_task(self, run):
        from mindspore import nn
        assert run.dry

        class Mine(Task):
            columns = ('x',)

            def __init__(self, layers):
                self.model = self.loss = nn.SequentialCell([nn.Dense(2, 2) for _ in range(layers)])

            def transform(self, sample, draw): ...

            def load_weights(self, path):
                raise AssertionError('weights were read')

        return Mine(self.cfg.layers)

    def close(self):
        with open('closed', 'a') as file:
            file.write('closed once')
"""
SWAP = """
from mindloom import Plugin, hookimpl

class Swap(Plugin):
    @hookimpl
    def edit_model(self, run):
        from mindloom.edits import CellEdit
        assert (run.device.target, run.world.size) == ('Ascend', 1)
        return [CellEdit(lambda name, cell: name in {names}, lambda name, cell: 1 / 0, 'for speed')]
"""


def plugin(name: str, *members: str) -> str:
    """Write a plugin file; return what switches it on.

    Args:
        name: of the plugin.
        members: ``hook``, ``hook: its body``, or ``attribute = value``.
    """
    lines = ["from mindloom import Plugin, UserError, hookimpl", "class It(Plugin):", "    'One.'"]
    for member in members:
        hook, _, body = member.partition(": ")
        lines += [f"    {member}"] if " = " in member else ["    @hookimpl", f"    def {hook}(self): {body or '...'}"]
    return source(name, "\n".join(lines))


def source(name: str, text: str, **values: object) -> str:
    """Write a plugin file; return what switches it on."""
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", str(value))
    Path(f"{name}.py").write_text(text)
    return f"./{name}.py"


@pytest.fixture
def explain(capsys: pytest.CaptureFixture[str]) -> Explain:
    """Explain in this process; return the exit code, the facts, and what else was said."""

    def run(*argv: str) -> tuple[int, Any, str]:
        code = cli.main(["plugins", "explain", "--json", *argv])
        out, err = capsys.readouterr()
        assert "Traceback (most" not in err
        return code, json.loads(out or "null"), err

    return run


def test_an_explanation_tells_order_slots_contributions_observers_and_cells(explain: Explain) -> None:
    enabled = [
        plugin("logs", "on_log", "on_step_end", "after = ('late',)"),
        plugin("late", "on_log", "add_formats: return {'late': open}"),
        plugin("grads", "add_grad_ops", "make_reducer"),
        source("net", NET),
        source("swap", SWAP, names=("0", "2")),
        source(
            "wrap",
            "from mindloom import Plugin, hookimpl\nclass It(Plugin):\n    @hookimpl(wrapper=True)\n"
            "    def make_task(self):\n        return (yield)\n",
        ),
    ]
    Path("my.yaml").write_text("weight: nowhere\ndata: {path: nowhere}\ndevice: {target: Ascend}\n")
    code, facts, _ = explain("--config", "my.yaml", "--plugins", ",".join(enabled))
    core = {"filled_by": ["core"], "wrapped_by": []}
    assert facts == {
        "plugins": [
            {
                "name": name,
                "from": f"./{name}.py",
                "enabled_by": "command line",
                "moved_by": ["after late, as logs wishes"] if name == "logs" else [],
            }
            for name in ("late", "logs", "grads", "net", "swap", "wrap")
        ],
        "blocked": [],
        "slots": [
            {"hook": "make_device", **core},
            {"hook": "make_world", **core},
            {"hook": "make_task", "filled_by": ["net"], "wrapped_by": ["wrap"]},
            {"hook": "make_dataset", **core},
            {"hook": "make_precision", **core},
            {"hook": "make_schedule", **core},
            {"hook": "make_optimizer", **core},
            {"hook": "make_reducer", "filled_by": ["grads"], "wrapped_by": []},
            {"hook": "make_step", **core},
            {"hook": "make_stepper", **core},
            {"hook": "make_checkpointer", "filled_by": [], "wrapped_by": []},
        ],
        "contributions": [
            {"hook": "add_formats", "plugins": ["late"]},
            {"hook": "add_grad_ops", "plugins": ["grads", "core"]},
            {"hook": "edit_model", "plugins": ["swap"]},
        ],
        "observers": [{"hook": "on_step_end", "plugins": ["logs"]}, {"hook": "on_log", "plugins": ["late", "logs"]}],
        "cells": [{"plugin": "swap", "why": "for speed", "cells": 2, "names": ["0", "2"]}],
        "notes": [],
        "conflicts": [],
    }
    assert code == 0
    assert Path("closed").read_text() == "closed once"
    assert {path.name for path in Path().iterdir() if path.suffix not in (".py", ".yaml")} <= {"closed", "__pycache__"}


def test_all_conflicts_are_told_at_once(explain: Explain) -> None:
    raises = "on_configure: raise UserError('{} will not', setting='{}')"
    Path("my.yaml").write_text("max_stepz: 1\nlog_interval: 0\nplugins: {net: {layers: many, depth: 1}, gone: true}\n")
    enabled = [
        source("net", NET),
        plugin("other", "make_task", "add_formats: return {'x': open}"),
        plugin("third", "make_task", "add_formats: return {'x': open}"),
        plugin("one", "before = ('two',)", raises.format("one", "seed")),
        plugin("two", "before = ('one',)", raises.format("two", "")),
        plugin("broken", "on_step_ends"),
        plugin("costly", "__init__ = 1 / 0"),
        plugin("angry", "on_configure: 1 / 0"),
    ]
    code, facts, _ = explain("--config", "my.yaml", "--plugins", ",".join(enabled), "seed=3")
    assert code == 2
    expected = [
        "there is no plugin 'gone'",
        "plugin 'broken' implements an unknown hook: there is no hook 'on_step_ends': did you mean 'on_step_end'?",
        "plugin file costly.py cannot be imported: ZeroDivisionError",
        "there is no setting max_stepz: did you mean 'max_steps'? (max_stepz: my.yaml)",
        "plugins.net.layers: Value 'many' of type 'str' could not be converted to Integer (plugins.net.layers: my.yam",
        "there is no setting plugins.net.depth",
        "log_interval must be from 1 to 1e+09, not 0 (log_interval: my.yaml)",
        "plugins want to run before each other: ",
        "plugins 'net' and 'other' both fill make_task: switch one off with --plugins no:other",
        "plugins 'net' and 'third' both fill make_task: switch one off with --plugins no:third",
        "one will not (seed: command line)",
        "two will not",
        "plugin 'angry' failed in on_configure: ZeroDivisionError: division by zero",
        "plugins 'other' and 'third' both offer the dataset format 'x': switch one off with --plugins no:third",
    ]
    assert len(facts["conflicts"]) == len(expected), facts["conflicts"]
    for beginning in expected:
        assert [text for text in facts["conflicts"] if text.startswith(beginning)], (beginning, facts["conflicts"])
    assert {entry["name"] for entry in facts["plugins"]} == {"net", "other", "third", "one", "two", "angry"}
    assert facts["slots"][2] == {"hook": "make_task", "filled_by": ["net", "other", "third"], "wrapped_by": []}


def test_claims_that_meet_are_told_for_each_pair_of_plugins(explain: Explain) -> None:
    net = source("net", NET)
    swaps = [source(name, SWAP, names=names) for name, names in {"a": "'012'", "b": ("0", "1"), "c": ("2",)}.items()]
    code, facts, _ = explain("--plugins", ",".join([net, *swaps]), "device.target=Ascend")
    assert code == 2
    assert facts["conflicts"] == [
        "plugins 'a' and 'b' both replace the cell 0 and 1 more (edit_model): switch one off with --plugins no:b",
        "plugins 'a' and 'c' both replace the cell 2 (edit_model): switch one off with --plugins no:c",
    ]
    assert facts["cells"] == [{"plugin": "a", "why": "for speed", "cells": 3, "names": ["0", "1", "2"]}]


def test_a_plugin_that_fails_in_edit_model_does_not_hide_the_others_claims(explain: Explain) -> None:
    swap, bad = source("swap", SWAP, names=("0",)), plugin("bad", "edit_model: 1 / 0")
    code, facts, _ = explain("--plugins", f"{source('net', NET)},{bad},{swap}", "device.target=Ascend")
    assert code == 2
    (conflict,) = facts["conflicts"]
    assert conflict.startswith("plugin 'bad' failed in edit_model: ZeroDivisionError: division by zero")
    assert [edit["plugin"] for edit in facts["cells"]] == ["swap"]


@pytest.mark.parametrize(
    ("argv", "conflicts", "notes"),
    [
        ("./swap.py", ["no plugin makes a task"], ["cells were not looked at: there is no task"]),
        (
            "./net.py,./swap.py plugins.net.layers=x",
            ["plugins.net.layers: Value 'x'"],
            ["cells were not looked at: the conflicts of 'net' come first"],
        ),
        (
            "./net.py,./needs.py,./swap.py",
            ["plugins.needs.path has no default and must be set: add plugins.needs.path=VALUE"],
            ["cells were not looked at: the settings come first"],
        ),
    ],
)
def test_what_comes_before_the_cells_is_told_first(
    explain: Explain, argv: str, conflicts: list[str], notes: list[str]
) -> None:
    source("net", NET)
    source("swap", SWAP, names=("0",))
    source("needs", NET.replace("layers: int = 3", "path: str = '???'").replace("make_task", "on_log"))
    code, facts, _ = explain("--plugins", *argv.split())
    assert code == 2
    assert facts["notes"] == notes
    assert len(facts["conflicts"]) == len(conflicts)
    assert all(text.startswith(words) for text, words in zip(facts["conflicts"], conflicts, strict=True))


def test_nothing_to_explain_and_unreadable_files_are_one_line(explain: Explain) -> None:
    assert explain() == (2, None, "mindloom: error: nothing to explain: give --config FILE or --plugins (see --help)\n")
    assert explain("--config", "none.yaml")[2].startswith("mindloom: error: config file none.yaml cannot be read")


def test_the_text_holds_what_the_facts_do(capsys: pytest.CaptureFixture[str]) -> None:
    enabled = [source("net", NET), plugin("logs", "on_log", "before = ('net',)"), source("swap", SWAP, names="'012'")]
    assert cli.main(["plugins", "explain", "--plugins", ",".join(enabled), "device.target=Ascend"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in [
        "net ./net.py command line after logs, as logs wishes",
        "make_task net",
        "make_reducer nobody",
        "add_grad_ops core",
        "on_log logs",
        "swap 3 for speed 0, 1, 2",
        "no conflicts",
    ]:
        assert line in lines, lines


def test_mindspore_is_not_imported_for_a_config_whose_plugins_edit_no_model() -> None:
    script = (
        "import sys; from mindloom import cli\n"
        f"code = cli.main(['plugins', 'explain', '--config', {str(ROOT / 'configs' / 'sdxl_base.yaml')!r}])\n"
        "assert 'mindspore' not in sys.modules\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "no conflicts" in done.stdout
    assert not list(Path().iterdir())
