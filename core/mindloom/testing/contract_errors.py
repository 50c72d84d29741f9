"""The part of the contract about failing: whoever fails is named, and nobody hides it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..blame import PluginError
from ..errors import TrainingError, UserError
from ..plugin import Plugin
from ..signatures import HOOKS
from .contract_terms import Terms
from .faults import REACHED, Trap, alone, broken, failing_inside, implemented, sprung
from .trial import Witness


class Errors(Terms):
    """Tests with hooks that fail."""

    def test_an_error_in_any_of_its_hooks_is_blamed_on_it(self) -> None:
        """``PluginError`` names the plugin and the hook, and nothing is swallowed on the way."""
        for hook, impl in implemented(self.runs.made()).items():
            values = {name: Trap() for name in HOOKS[hook]}
            self.fail_in(hook, broken(self.plugin, impl), values)
            if impl.argnames:  # without any, the hook would do its work
                self.fail_in(hook, self.plugin, values)

    def fail_in(self, hook: str, kind: type[Plugin], values: Mapping[str, Trap]) -> None:
        """Call one hook, which fails, or is given what lets it fail."""
        plugin = self.runs.made(kind)
        try:
            alone(plugin).call(hook, **values)
        except PluginError as error:
            must_name(error, self.called, hook)
            if isinstance(error.__cause__, SystemExit):
                raise AssertionError(f"an error in {hook} ends as {error.__cause__!r}: let it pass as it is") from error
        except (UserError, TrainingError):
            pass  # told in the plugin's own words
        except (Exception, SystemExit) as error:
            raise AssertionError(f"an error in {hook} comes out as {error!r}: let it pass as it is") from error
        else:
            assert kind is self.plugin, f"an error in {hook} is lost: raise it"
            assert not any(map(sprung, values.values())), (
                f"{hook} swallows an error: catch only what it can mend, so that the core can say who failed"
            )
        finally:
            plugin.close()

    def test_a_run_that_fails_in_it_says_so(self) -> None:
        """A whole run ends with the error, and the plugin can be closed then."""
        owner, hook, kind = self.failing()
        with errors_logged() as logged:
            try:
                self.runs.trial("failed", {**self.runs.plugins, owner: kind})
            except PluginError as error:
                must_name(error, owner, hook)
            except (Exception, SystemExit) as error:
                raise AssertionError(f"a run that fails in {hook} ends with {error!r}: let errors pass") from error
            else:
                raise AssertionError(f"a run goes on although {hook} of {owner} failed: let errors pass")
        own = [text for text in logged if text.startswith(f"plugin {self.called!r} failed")]
        assert not own, f"after an error, {own[0]}: count on nothing then, not even on what other hooks make"

    def test_errors_of_others_pass_through_it(self) -> None:
        """What it wraps may fail in the hands of another plugin, which is then the one to name."""
        for hook, impl in implemented(self.runs.made()).items():
            if not (impl.wrapper or impl.hookwrapper):
                continue
            try:
                self.runs.trial("others", {**self.runs.plugins, "other": failing_inside(hook)})
            except PluginError as error:
                must_name(error, "other", hook)
            except (Exception, SystemExit) as error:
                raise AssertionError(f"another's error in {hook} comes out as {error!r}: let it pass") from error
            else:
                raise AssertionError(f"another's error in {hook} is lost: where you yield, let errors pass")

    def failing(self) -> tuple[str, str, type[Plugin]]:
        """A plugin that fails on the way, and where: the one under test if a run reaches a hook of it."""
        own = implemented(self.runs.made())
        for hook in REACHED:
            if hook in own:
                return self.called, hook, broken(self.plugin, own[hook])
        witness = Witness()
        witness.name = "recorder"
        return "recorder", "on_step_start", broken(Witness, implemented(witness)["on_step_start"])


def must_name(error: PluginError, plugin: str, hook: str) -> None:
    """Whether an error says whose it is and where it came from."""
    if (error.plugin, error.where) != (plugin, hook):
        raise AssertionError(
            f"an error of {plugin} in {hook} reads {str(error)!r}: let errors pass as they are"
        ) from error


@contextmanager
def errors_logged() -> Iterator[list[str]]:
    """Collect what is logged as an error."""
    texts: list[str] = []

    class Keep(logging.Handler):
        """Into the list."""

        def emit(self, record: logging.LogRecord) -> None:
            texts.append(record.getMessage())

    handler, log = Keep(logging.ERROR), logging.getLogger("mindloom")
    log.addHandler(handler)
    try:
        yield texts
    finally:
        log.removeHandler(handler)
