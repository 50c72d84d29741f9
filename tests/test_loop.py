"""The loop: hooks in the documented order, records, dispatches, failures, and closing whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from mindloom import Plugin, TrainingError, UserError, hookimpl
from mindloom.hooks import HookSpecs
from mindloom.run import Run
from mindloom.signatures import HOOKS
from mindloom.step import StepResult
from mindloom.testing import Shelf, fit


def everything() -> type[Plugin]:
    """A plugin that writes down every hook it hears, in order."""

    def tracer(hook: str, arguments: tuple[str, ...]) -> Callable[..., None]:
        scope: dict[str, Any] = {}
        exec(f"def {hook}(self, {', '.join(arguments)}): self.calls.append({hook!r})", scope)
        return hookimpl(scope[hook])  # type: ignore[no-any-return]

    methods: dict[str, Any] = {hook: tracer(hook, arguments) for hook, arguments in HOOKS.items()}
    # Answering a slot with None declines it, but the slot would be taken: listen as a wrapper there.
    for hook in [name for name in HOOKS if name.startswith("make_")]:

        def wrapper(self: Any, hook: str = hook) -> Generator[None, Any, Any]:
            self.calls.append(hook)
            answer = yield
            return answer

        scope: dict[str, Any] = {"inner": wrapper}
        exec(f"def {hook}(self): return (yield from inner(self, {hook!r}))", scope)
        methods[hook] = hookimpl(wrapper=True)(scope[hook])
    return type("Everything", (Plugin,), {**methods, "calls": [], "close": lambda self: self.calls.append("close")})


BUILD = [
    "on_configure make_device make_world make_checkpointer make_dataset add_formats make_task edit_model",
    "make_precision make_schedule make_optimizer make_reducer add_grad_ops make_step",
]


def names(*lines: str) -> list[str]:
    return " ".join(lines).split()


def test_hooks_are_called_in_the_documented_order(tmp_path: Path) -> None:
    first = everything()
    fit(tmp_path, {"shelf": Shelf, "all": first}, steps=3, log_interval=2, stop_at=2)
    assert first.calls == names(  # type: ignore[attr-defined]
        *BUILD,
        "make_stepper on_train_start",
        "on_step_start on_step_end",
        "on_step_start on_step_end add_metrics on_log on_checkpoint",
        "on_train_end close",
    )
    second = everything()
    fit(tmp_path, {"shelf": Shelf, "all": second}, steps=3, log_interval=2, resume="latest")
    assert second.calls == names(  # type: ignore[attr-defined]
        *BUILD,
        "on_resume make_stepper on_train_start",
        "on_step_start on_step_end add_metrics on_log on_checkpoint",
        "on_train_end close",
    )
    documented = [word for word in HookSpecs.__dict__ if word[0] != "_"]
    assert set(first.calls) | set(second.calls) | {"on_exception"} == {*documented, "close"}  # type: ignore[attr-defined]


def test_a_failure_calls_on_exception_and_not_on_train_end(tmp_path: Path) -> None:
    class Bad(Plugin):
        @hookimpl
        def on_step_end(self, run: Run) -> None:
            if run.step == 2:
                raise TrainingError("enough")

    listener = everything()
    with pytest.raises(TrainingError, match="enough"):
        fit(tmp_path, {"all": listener, "bad": Bad})
    assert listener.calls[-4:] == ["on_step_start", "on_step_end", "on_exception", "close"]  # type: ignore[attr-defined]
    assert "on_train_end" not in listener.calls  # type: ignore[attr-defined]


def test_a_failure_in_on_exception_hides_neither_the_first_error_nor_other_plugins(tmp_path: Path) -> None:
    heard: list[BaseException] = []

    class Bad(Plugin):
        @hookimpl
        def on_train_start(self) -> None:
            raise TrainingError("the first")

        @hookimpl
        def on_exception(self) -> None:
            raise RuntimeError("the second")

    class Listener(Plugin):
        @hookimpl
        def on_exception(self, error: BaseException) -> None:
            heard.append(error)

    with pytest.raises(TrainingError, match="the first"):
        fit(tmp_path, [Bad, Listener])
    assert [str(error) for error in heard] == ["the first"]


def test_a_failing_build_reaches_on_exception_before_anybody_closes(tmp_path: Path) -> None:
    class Bad(Plugin):
        @hookimpl
        def make_optimizer(self) -> None:
            raise UserError("no optimizer")

    listener = everything()
    with pytest.raises(UserError, match="no optimizer"):
        fit(tmp_path, {"bad": Bad, "all": listener})
    assert listener.calls[-2:] == ["on_exception", "close"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("fails", [False, True])
def test_generators_end_before_plugins_close(tmp_path: Path, fails: bool) -> None:
    ends: list[str] = []

    class Ends(Plugin):
        @hookimpl(wrapper=True)
        def make_dataset(self) -> Generator[None, Any, Any]:
            dataset = yield
            inner = dataset.batches

            def batches(first: int, last: int) -> Iterator[Any]:
                try:
                    yield from inner(first, last + 1)
                finally:
                    ends.append("batches")

            dataset.batches = batches
            return dataset

        @hookimpl
        def on_step_end(self) -> None:
            if fails:
                raise TrainingError("enough")

        def close(self) -> None:
            ends.append("close")

    if fails:
        with pytest.raises(TrainingError, match="enough"):
            fit(tmp_path, [Ends])
    else:
        fit(tmp_path, [Ends])
    assert ends == ["batches", "close"]


class Closer(Plugin):
    """Writes down that it was closed; may fail in it."""

    closed: ClassVar[list[str]] = []

    @hookimpl
    def on_configure(self) -> None:
        if self.name == "rejecting":
            raise UserError("no")

    @hookimpl
    def make_schedule(self) -> None:
        raise UserError("not this either")

    def close(self) -> None:
        self.closed.append(self.name)
        if self.name == "clumsy":
            raise OSError("disk full")


class Quiet(Closer):
    """The same, without the slot."""

    make_schedule = None  # type: ignore[assignment]


@pytest.mark.parametrize("last", ["fine", "rejecting"])
def test_plugins_close_in_reverse_order_even_if_one_fails_to(tmp_path: Path, last: str) -> None:
    Closer.closed.clear()
    error = TrainingError if last == "fine" else UserError
    with pytest.raises(error, match="plugin 'clumsy' failed in close: OSError: disk full" if last == "fine" else "^no"):
        fit(tmp_path, {"one": Quiet, "clumsy": Quiet, last: Quiet}, steps=1)
    assert Closer.closed == [last, "clumsy", "one"]


def test_plugins_close_after_an_error_in_the_build_too(tmp_path: Path) -> None:
    Closer.closed.clear()
    with pytest.raises(UserError, match="not this either"):
        fit(tmp_path, {"one": Quiet, "two": Closer})
    assert Closer.closed == ["two", "one"]


def test_a_stepper_may_take_several_steps_in_a_dispatch(tmp_path: Path) -> None:
    class Pairs(Plugin):
        @hookimpl(wrapper=True)
        def make_stepper(self) -> Generator[None, Any, Any]:
            results = yield
            return self.pairs(results)

        def pairs(self, results: Iterator[StepResult]) -> Iterator[StepResult]:
            for first, second in zip(results, results, strict=True):
                assert first.n == 1
                yield StepResult(2, second.lr, second.outputs)

    plain = fit(tmp_path, steps=6, log_interval=2)
    paired = fit(tmp_path, [Pairs], steps=6, log_interval=2)
    assert paired.losses == plain.losses
    assert paired.plugins["recorder"].run.step == 6  # type: ignore[attr-defined]


def test_a_stepper_that_ends_early_is_an_error_and_what_it_did_is_kept(tmp_path: Path) -> None:
    class Short(Plugin):
        @hookimpl(wrapper=True)
        def make_stepper(self) -> Generator[None, Any, Any]:
            results = yield
            return iter([next(results)])

    with pytest.raises(TrainingError, match="the stepper ended at step 1 of 6: let it yield") as caught:
        fit(tmp_path, [Short, Shelf], steps=6)
    assert "perhaps in what plugin 'short' returned from make_stepper" in caught.value.__notes__
    assert [path.name for path in Shelf.kept if path.parent == tmp_path / "run"] == ["step-00000001"]
