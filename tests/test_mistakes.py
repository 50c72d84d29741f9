"""Typical mistakes of people who write plugins: each is answered in a line that names plugin, hook and remedy."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from mindloom import cli

HEAD = "from mindloom import Plugin, hookimpl\n\n\nclass Bad(Plugin):\n"
WITHOUT = "(without it: --plugins no:bad) (traceback: run/error.txt)"
PLACE = ["--save_path", "run", "--save_path_with_time", "False"]
Answer = tuple[int, str]
Bad = Callable[..., Answer]


@pytest.fixture
def bad(capsys: pytest.CaptureFixture[str]) -> Bad:
    """Write plugins into files, train with them and the toy task, and return exit code and what is said of the error.

    It is everything on stderr but the log of a run that got as far as having one.
    """

    def train(body: str, *argv: str, kit: str = "toy,", **others: str) -> Answer:
        for name, source in {"bad": HEAD + textwrap.indent(textwrap.dedent(body), "    "), **others}.items():
            Path(f"{name}.py").write_text(source)
        files = ",".join(f"./{name}.py" for name in ["bad", *others])
        code = cli.main_train(
            ["--plugins", f"{kit}{files}", "max_steps=2", *["--data_path", ".", "--save_path", "run"],
             *["--save_path_with_time", "False", "log_interval=1"], *argv]
        )  # fmt: skip
        said = capsys.readouterr().err.splitlines()
        log = Path("run/run.log").read_text() if Path("run/run.log").exists() else ""
        said = [line for line in said if line not in log]
        assert 1 <= len(said) <= 3
        assert not any(line.startswith(("Traceback", "  File")) for line in said)
        return code, said[-1].removeprefix("mindloom: error: ")

    return train


def hook(line: str, body: str, mark: str = "@hookimpl") -> str:
    return f"{mark}\ndef {line}:\n    {body}\n"


@pytest.mark.parametrize(("body", "words"), [
    (hook("on_step_edn(self)", "pass"),
     "plugin 'bad' implements an unknown hook: there is no hook 'on_step_edn': did you mean 'on_step_end'?"),
    (hook("on_log(self, run, record=None)", "pass"),
     "plugin 'bad': the argument 'record' of on_log must not have a default: write on_log(self, run, record)"),
    (hook("on_log(self, recrod)", "pass"),
     "plugin 'bad': there is no argument 'recrod' of on_log: did you mean 'record'?"),
    (hook("on_log(self, record)", "pass", mark="\n"),
     "plugin 'bad' defines on_log without @hookimpl, so it would never be called: write @hookimpl above it"),
    (hook("on_step_end(self)", "yield"),
     "plugin 'bad': on_step_end has a yield, so nothing in it would ever run: return instead"),
    (hook("make_step(self)", "yield"),
     "plugin 'bad': make_step has a yield, so nothing in it would ever run: return instead, or write "
     "@hookimpl(wrapper=True) to wrap the others"),
    (hook("make_step(self)", "return 1", "@hookimpl(wrapper=True)"),
     "plugin 'bad' wraps make_step without a yield: write answer = yield, then return answer, or a plain @hookimpl"),
    (hook("make_step(self)", "yield", "@hookimpl(hookwrapper=True)"),
     "plugin 'bad' wraps make_step in the old way: write @hookimpl(wrapper=True) and answer = yield, then return"),
    ("class Config:\n    size: int = 1\n", "plugin 'bad': its Config must be a dataclass: write @dataclass above it"),
    ("before = 'toy'", "plugin 'bad': before must be a tuple: write before = ('toy',)"),
    ("api = 2", "plugin 'bad' (bad.py) is written for version 2 of the hooks, and this mindloom speaks 1: upgrade"),
    ("def __init__(self, cfg):\n    pass",
     "plugin 'bad': its __init__ must call super().__init__(cfg), or it has no settings"),
])  # fmt: skip
def test_what_is_wrong_with_a_class_is_said_before_anything_runs(bad: Bad, body: str, words: str) -> None:
    code, line = bad(body)
    assert (code, line[: len(words)]) == (2, words)
    assert not Path("run").exists()


def settings(*lines: str) -> str:
    return "from dataclasses import dataclass\n@dataclass\nclass Config:\n" + "".join(f"    {line}\n" for line in lines)


def test_an_unknown_setting_and_one_that_nobody_set_name_the_plugin(bad: Bad) -> None:
    code, line = bad(settings("size: int = 1"), "plugins.bad.sise=2")
    assert code == 2
    assert line == "there is no setting plugins.bad.sise: did you mean 'size'? (plugins.bad.sise: command line)"
    code, line = bad(settings("place: str"))
    assert (code, line) == (2, "plugins.bad.place has no default and must be set: add plugins.bad.place=VALUE")


REMEDY = "pip install no_such, if that is the package's name"


def test_a_missing_dependency_is_named_with_what_installs_it_when_imported_and_when_used(bad: Bad) -> None:
    code, line = bad("import no_such.part")
    reason = "ModuleNotFoundError: No module named 'no_such'"
    assert (code, line) == (
        2, f"plugin file bad.py cannot be imported: {reason} (bad.py, line 5): {REMEDY}"
    )  # fmt: skip
    code, line = bad(hook("on_train_start(self)", "import no_such.part"))
    assert code == 1
    where = f"(bad.py, line 7) ({REMEDY})"
    assert line == f"plugin 'bad' failed in on_train_start: {reason} {where} {WITHOUT}"


@pytest.mark.parametrize(("body", "where", "number"), [
    (hook("on_step_end(self, run)", "1 / 0"), "on_step_end", 7),
    (hook("on_log(self)", "self.helper()") + "def helper(self):\n    1 / 0\n", "on_log", 9),
    (hook("make_stepper(self)", "self.steps((yield))", "@hookimpl(wrapper=True)").replace("self.s", "return self.s")
     + "def steps(self, results):\n    yield next(results)\n    1 / 0\n", "the training step", 10),
    ("def close(self):\n    1 / 0\n", "close", 6),
])  # fmt: skip
def test_an_error_in_a_plugin_names_hook_line_and_traceback_and_how_to_go_on(
    bad: Bad, body: str, where: str, number: int
) -> None:
    code, line = bad(body)
    reason = f"plugin 'bad' failed in {where}: ZeroDivisionError: division by zero (bad.py, line {number})"
    end = "(without it: --plugins no:bad) (traceback: add --debug)" if where == "close" else WITHOUT
    assert (code, line) == (1, f"{reason} {end}")
    if where != "close":
        assert "1 / 0" in Path("run/error.txt").read_text()


def test_from_the_shell_an_error_is_one_line_below_the_log(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(another(hook("on_step_end(self)", "1 / 0")))
    done = subprocess.run(
        [sys.executable, "-m", "mindloom", "train", "--plugins", "toy,./bad.py", "--data_path", ".", *PLACE],
        cwd=tmp_path, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    log = (tmp_path / "run/run.log").read_text()
    reason = "plugin 'bad' failed in on_step_end: ZeroDivisionError: division by zero (bad.py, line 7)"
    assert [line for line in done.stderr.splitlines() if line not in log] == [f"mindloom: error: {reason} {WITHOUT}"]
    assert done.returncode == 1


def test_the_advice_to_go_on_without_a_plugin_works(bad: Bad) -> None:
    fails = hook("on_step_end(self)", "1 / 0")
    assert bad(fails)[0] == 1
    assert cli.main_train(["--plugins", "toy,./bad.py", "max_steps=1", "--data_path", ".", "--plugins", "no:bad"]) == 0


def test_errors_before_there_is_a_run_folder_say_how_to_see_the_traceback(bad: Bad) -> None:
    code, line = bad("def __init__(self, cfg):\n    1 / 0\n")
    reason = "plugin 'bad' failed in __init__: ZeroDivisionError: division by zero (bad.py, line 6)"
    assert (code, line) == (1, f"{reason} (without it: --plugins no:bad) (traceback: add --debug)")


def test_an_error_in_state_dict_names_plugin_and_line(bad: Bad) -> None:
    shelf = "from mindloom.testing import Shelf\nclass Keeper(Shelf):\n    'Keeps.'\n"
    code, line = bad("def state_dict(self):\n    1 / 0\n", keeper=shelf)
    reason = "plugin 'bad' failed in saving a checkpoint: ZeroDivisionError: division by zero (bad.py, line 6)"
    assert (code, line) == (1, f"{reason} {WITHOUT}")


CELL = "from mindspore import nn; "


@pytest.mark.parametrize(("line", "answer", "words"), [
    ("make_schedule(self)", "return 0.5", "must return Callable[[int], float] or nothing, not 0.5"),
    ("make_precision(self)", "return False", "must return Precision or nothing, not False"),
    ("make_stepper(self)", "return [1]", "must return Iterator[StepResult] or nothing, not a list"),
    ("make_checkpointer(self)", "return self", "must return Checkpointer or nothing, not a Bad without save, find, "
     "latest, load, run_folder"),
    ("make_device(self)", "return 'CPU'", "must return Device or nothing, not 'CPU'"),
    ("make_optimizer(self)", "return lambda lr, grads: None",
     "must return nn.Cell or nothing, not the function <lambda>"),
    ("make_step(self)", CELL + "return nn.ReLU()", "must return nn.Cell or nothing, not a ReLU without outputs"),
    ("add_metrics(self)", "return [1.0]", "must return dict[str, float] or nothing, not a list"),
    ("add_formats(self)", "return ['csv']", "must return dict[str, OpenFormat | Format] or nothing, not a list"),
    ("add_formats(self)", "return {'x': 5}", "must return dict[str, OpenFormat | Format] or nothing, not a dict with "
     "5 in it"),
    ("edit_model(self)", "from mindloom.edits import CellEdit; return CellEdit(None, None, '')",
     "must return Sequence[CellEdit] or nothing, not a CellEdit"),
    ("add_grad_ops(self)", "return print", "must return Sequence[nn.Cell] or nothing, not the function print"),
    ("add_grad_ops(self)", "return [len]", "must return Sequence[nn.Cell] or nothing, not a list with the function len "
     "in it"),
])  # fmt: skip
def test_an_answer_of_the_wrong_type_is_refused_when_it_is_given(bad: Bad, line: str, answer: str, words: str) -> None:
    code, said = bad(hook(line, answer))
    assert code == 1
    assert said.startswith(f"plugin 'bad' failed in {line.partition('(')[0]}: TypeError: it {words} (bad.py, line 5)")
    assert "(without it: --plugins no:bad)" in said or line.startswith("add_formats")


def test_a_task_is_refused_that_is_none_or_not_all_there(bad: Bad) -> None:
    body = hook("make_task(self)", "return {}") + hook("add_formats(self)", "return {'x': lambda p, w: [{'id': ''}]}")
    code, line = bad(body, kit="")
    assert code == 1
    assert line.startswith("plugin 'bad' failed in make_task: TypeError: it must return Task or nothing, not a dict")
    task = body.replace("return {}", "return Mine()")
    task = "from mindloom.task import Task\nclass Mine(Task):\n    transform = load_weights = model = None\n" + task
    code, line = bad(task.replace("return Mine", "return self.Mine"), kit="")
    assert "it must return Task or nothing, not a Mine without loss, columns (bad.py, line 8)" in line


def test_a_wrapper_answers_for_what_it_made_of_the_answer(bad: Bad) -> None:
    forgot = hook("make_schedule(self)", "rate = yield", "@hookimpl(wrapper=True)")
    code, line = bad(forgot)
    words = "plugin 'bad' failed in make_schedule: TypeError: it wraps others and must return what its yield gave it"
    assert (code, line[: len(words)]) == (1, words)
    code, line = bad(forgot + "    return rate(0)\n")
    words = "plugin 'bad' failed in make_schedule: TypeError: it must return Callable[[int], float], not 1e-05"
    assert (code, line[: len(words)]) == (1, words)
    twice = hook("make_schedule(self)", "yield (yield)", "@hookimpl(wrapper=True)")
    never = hook("make_schedule(self)", "return print\n    yield", "@hookimpl(wrapper=True)")
    for body in (twice, never):
        assert (
            "failed in make_schedule: TypeError: it wraps others and must yield once (bad.py, line 5)" in bad(body)[1]
        )


def test_a_wrapper_may_still_recover_from_what_it_wraps(bad: Bad) -> None:
    recovers = "try:\n        rate = yield\n    except ValueError:\n        rate = lambda step: 0.5\n    return rate"
    body = hook("make_schedule(self)", recovers, "@hookimpl(wrapper=True)") + hook("on_train_end(self)", "1 / 0")
    code, line = bad(body, other=another(hook("make_schedule(self)", "raise ValueError")))
    assert (code, line.partition(":")[0]) == (1, "plugin 'bad' failed in on_train_end")


def another(body: str) -> str:
    return HEAD + textwrap.indent(textwrap.dedent(body), "    ")


def test_two_plugins_that_want_the_same_are_both_named(bad: Bad) -> None:
    fills = hook("make_schedule(self)", "return lambda step: 0.5")
    remedy = "switch one off with --plugins no:other"
    code, line = bad(fills, other=another(fills))
    assert (code, line) == (2, f"plugins 'bad' and 'other' both fill make_schedule: {remedy}")
    offers = hook("add_formats(self)", "return {'pairs': print}")
    code, line = bad(offers, other=another(offers))
    assert (code, line) == (2, f"plugins 'bad' and 'other' both offer the dataset format 'pairs': {remedy}")


def test_two_plugins_that_claim_one_cell_are_both_named(bad: Bad) -> None:
    task = (
        "from mindloom.testing import Toy\nfrom mindspore import nn\nclass Deep(Toy):\n    def make_task(self):\n"
        "        task = super().make_task()\n        task.model.inner = nn.Identity()\n        return task\n"
        "    make_task.mindloom_impl = Toy.make_task.mindloom_impl\n"
    )
    claim = "return [edits.CellEdit(lambda n, c: n == 'inner', lambda n, c: c, '')]"
    claims = hook("edit_model(self)", f"from mindloom import edits; {claim}")
    code, line = bad(claims, kit="", other=another(claims), deep=task)
    assert code == 2
    words = "plugins 'bad' and 'other' both replace the cell inner (edit_model): switch one off with --plugins no:other"
    assert line == words


def test_a_circle_names_the_wishes_that_make_it(bad: Bad) -> None:
    code, line = bad("before = ('other',)", other=another("before = ('bad',)"))
    assert code == 2
    assert "'bad' says before 'other'" in line
    assert "'other' says before 'bad'" in line
    assert "switch one off with --plugins no:" in line
    code, line = bad("after = ('bad',)")
    wish = "plugins want to run before each other: bad < bad ('bad' says after 'bad'): switch one off with --plugins"
    assert (code, line) == (2, f"{wish} no:bad")
