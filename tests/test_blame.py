"""Blame: an error names the plugin and the place, wherever it surfaces; the core's own errors name nobody."""

from __future__ import annotations

import operator
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from mindloom import Plugin, TrainingError, UserError, hookimpl
from mindloom.blame import PluginError, blaming
from mindloom.images import decode
from mindloom.testing import Recorder, Shelf, Toy, ToyTask, fit
from mindspore import nn

PluginFile = Callable[[str, str], type[Plugin]]


def blamed(folder: Path, *plugins: type[Plugin]) -> PluginError:
    with pytest.raises(PluginError) as caught:
        fit(folder, list(plugins))
    assert "\n" not in str(caught.value)
    return caught.value


class Relay(Plugin):
    """An innocent that stands between the core and everybody's step."""

    @hookimpl(wrapper=True)
    def make_stepper(self) -> Generator[None, Any, Any]:
        results = yield
        return self.relay(results)

    def relay(self, results: Any) -> Iterator[Any]:
        yield from results


def test_an_error_in_a_hook_names_plugin_hook_and_reason(tmp_path: Path) -> None:
    class Bad(Plugin):
        @hookimpl
        def on_step_end(self) -> None:
            raise RuntimeError("two\nlines")

    assert str(blamed(tmp_path, Bad)) == "plugin 'bad' failed in on_step_end: RuntimeError: two lines"


def test_an_error_in_a_helper_of_a_file_plugin_names_it(tmp_path: Path, plugin_file: PluginFile) -> None:
    bad = plugin_file(
        "bad",
        """
        def helper():
            return {}["missing"]

        class Bad(Plugin):
            @hookimpl
            def on_train_start(self):
                helper()
        """,
    )
    error = blamed(tmp_path, Relay, bad)
    assert str(error) == "plugin 'bad' failed in on_train_start: KeyError: 'missing'"
    assert (tmp_path / "run" / "error.txt").read_text().count("helper()") >= 1
    assert isinstance(error.__cause__, KeyError)


def test_an_error_in_a_generator_that_a_plugin_returned_names_it(tmp_path: Path, plugin_file: PluginFile) -> None:
    bad = plugin_file(
        "bad",
        """
        def two_then_fail(results):
            yield next(results)
            yield next(results)
            raise OSError("device lost")

        class Bad(Plugin):
            @hookimpl(wrapper=True)
            def make_stepper(self):
                results = yield
                return two_then_fail(results)
        """,
    )
    assert str(blamed(tmp_path, bad, Relay)) == "plugin 'bad' failed in the training step: OSError: device lost"


def test_a_compile_error_names_the_plugin_of_the_cell_and_the_line(tmp_path: Path, plugin_file: PluginFile) -> None:
    bad = plugin_file(
        "bad",
        """
        from mindspore import nn, ops

        class Crooked(nn.Cell):
            def __init__(self, inner):
                super().__init__()
                self.inner, self.outputs, self.matmul = inner, inner.outputs, ops.MatMul()

            def construct(self, lr, *columns):
                self.matmul(columns[0], columns[0])
                return self.inner(lr, *columns)

        class Bad(Plugin):
            @hookimpl(wrapper=True)
            def make_step(self):
                inner = yield
                return Crooked(inner)
        """,
    )
    message = str(blamed(tmp_path, Relay, bad))
    assert message.startswith("plugin 'bad' failed in the training step: ValueError: For 'MatMul'")
    assert message.endswith("bad.py, line 11)")


@pytest.mark.parametrize(
    ("method", "where"),
    [
        ("state_dict(self)", "state_dict|saving a checkpoint"),
        ("load_state_dict(self, state)", "load_state_dict"),
        ("__init__(self, cfg)", "__init__"),
    ],
)
def test_errors_in_methods_that_are_no_hooks_name_plugin_and_method(
    tmp_path: Path, plugin_file: PluginFile, method: str, where: str
) -> None:
    class Counter(Plugin):
        def state_dict(self) -> dict[str, Any]:
            return {"x": 1}

    bad = plugin_file("bad", f"class Bad(Plugin):\n    def {method}:\n        raise RuntimeError('no')\n")
    if method.startswith("load"):
        fit(tmp_path, {"bad": Counter, "shelf": Shelf}, steps=2)
    with pytest.raises(PluginError, match=f"plugin 'bad' failed in ({where}): RuntimeError: no"):
        fit(tmp_path, {"bad": bad, "shelf": Shelf}, resume="latest" if method.startswith("load") else "")


def test_errors_in_the_claims_of_edit_model_name_the_plugin(tmp_path: Path, plugin_file: PluginFile) -> None:
    bad = plugin_file(
        "bad",
        """
        from mindloom.edits import CellEdit

        class Bad(Plugin):
            @hookimpl
            def edit_model(self):
                return [CellEdit(lambda name, cell: cell.nothing, lambda name, cell: None, "")]
        """,
    )

    class Nested(Toy):
        @hookimpl
        def make_task(self) -> Any:
            task = ToyTask(self.cfg.width)
            task.model.inner = nn.Identity()
            return task

    with pytest.raises(PluginError, match="plugin 'bad' failed in"):
        fit(tmp_path, {"toy": Nested, "bad": bad})


def test_metrics_that_are_no_numbers_name_the_plugin(tmp_path: Path) -> None:
    class Bad(Plugin):
        @hookimpl
        def add_metrics(self) -> dict[str, Any]:
            return {"x": "much"}

    assert "plugin 'bad' failed in add_metrics: ValueError" in str(blamed(tmp_path, Bad))


def test_an_error_in_a_sample_transform_names_the_task(tmp_path: Path) -> None:
    class Clumsy(Toy):
        @hookimpl
        def make_task(self) -> Any:
            task = ToyTask(self.cfg.width)
            task.transform = self.transform  # type: ignore[method-assign]
            return task

        def transform(self, sample: Any, draw: Any) -> Any:
            raise RuntimeError("inside a thread")

    with pytest.raises(PluginError, match="plugin 'toy' failed in the training step: RuntimeError: inside a thread"):
        fit(tmp_path, {"toy": Clumsy})


def test_the_cores_own_errors_are_not_blamed_on_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mindloom.step

    def broken(*arguments: Any) -> Iterator[Any]:
        raise RuntimeError("the core's own")
        yield

    monkeypatch.setattr(mindloom.step, "step_by_step", broken)
    with pytest.raises(RuntimeError, match="the core's own"):
        fit(tmp_path)
    core_plugins = {"recorder": Recorder(), "toy": Toy()}
    with pytest.raises(ValueError, match="not a readable picture"), blaming(core_plugins):
        decode(b"", 1)


@pytest.mark.parametrize("kind", [UserError, TrainingError])
def test_errors_made_for_people_pass_unchanged(tmp_path: Path, kind: type[Exception]) -> None:
    class Strict(Plugin):
        @hookimpl
        def on_train_start(self) -> None:
            raise kind("change that setting")

    with pytest.raises(kind, match=r"^change that setting"):
        fit(tmp_path, [Strict])
    assert (tmp_path / "run" / "error.txt").exists() == (kind is TrainingError)


def test_a_very_long_reason_is_shortened() -> None:
    assert len(str(PluginError("p", "h", ValueError("x" * 10_000)))) < 400


def test_a_wrapper_is_not_blamed_for_the_cores_answer_inside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mindloom.step.step_by_step", operator.not_)  # takes one argument, not three
    with pytest.raises(TypeError, match="not_"):
        fit(tmp_path, [Relay])
