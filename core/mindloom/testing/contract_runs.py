"""The runs that the tests of a contract share: each is made once, when the first test asks for it."""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ..config import build
from ..layers import Layers
from ..plugin import Plugin
from ..registry import Registry
from ..session import configure
from . import leavings
from .fitting import layered, named
from .strides import Strides
from .trial import Trial, Witness, difference, trial
from .watching import Shelf

if TYPE_CHECKING:
    from .contract_terms import Terms

Plugins = dict[str, type[Plugin]]


class Runs:
    """Runs of the plugin of one contract, in folders that go when the process ends.

    Attributes:
        left: what the first of them left behind in the process.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.built = False
        self.left: list[str] = []
        self.root = Path(tempfile.mkdtemp(prefix="contract-"))
        atexit.register(shutil.rmtree, self.root, ignore_errors=True)

    def folder(self, name: str) -> Path:
        """A folder of this name, made if it is not there."""
        path = self.root / name
        path.mkdir(exist_ok=True)
        return path

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """Settings for the samples, which are written now."""
        return self.terms.data(self.folder("data"))

    @cached_property
    def plugins(self) -> Plugins:
        """Everything that takes part; the plugin under test comes first, and the recorder, which is a witness, last."""
        terms = self.terms
        classes = {terms.called: terms.plugin, **named(terms.others)}
        if terms.task is not terms.plugin:
            classes |= named(terms.task)
        if not any(map(makes_checkpointer, classes.values())):
            classes["shelf"] = Shelf
        return {**classes, "recorder": Witness}

    def settings(self, *more: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Layers of settings, these last."""
        terms = self.terms
        own = {"plugins": {terms.called: terms.settings}}
        return [{"max_steps": terms.steps, "log_interval": terms.stride}, own, terms.run, self.data, *more]

    def trial(self, folder: str, plugins: Plugins, *more: Mapping[str, Any]) -> Trial:
        """Run in a folder of this name."""
        self.must_build()
        return trial(self.folder(folder), plugins, *self.settings(*more))

    @cached_property
    def whole(self) -> Trial:
        """All steps in one go, one in a dispatch unless the plugin drives them."""
        standing, before = leavings.standing(), leavings.generators()
        whole = self.trial("whole", self.plugins)
        self.left = leavings.left(standing)
        after, allowed = leavings.generators(), (before, *leavings.seeded(int(self.config.seed)))
        if self.terms.task is not self.terms.plugin:  # who makes a model draws more than a few numbers
            self.left += [name for name, seed in after.items() if seed not in [each[name] for each in allowed]]
        return whole

    @cached_property
    def halves(self) -> tuple[Trial, Trial]:
        """Half of the steps, and the others after a resume."""
        return self.halved("halves", self.plugins)

    def halved(self, folder: str, plugins: Plugins, *more: Mapping[str, Any]) -> tuple[Trial, Trial]:
        """Run half of the steps, resume, and run the others."""
        first = self.trial(folder, plugins, {"stop_at": self.terms.steps // 2}, *more)
        return first, self.trial(folder, plugins, {"resume": "latest"}, *more)

    @cached_property
    def strides(self) -> Trial:
        """All steps with ``stride`` of them in a dispatch."""
        return self.trial("strides", {**self.plugins, "strides": Strides}, self.stride)

    @property
    def stride(self) -> Mapping[str, Any]:
        """Settings for ``Strides``."""
        return {"plugins": {"strides": {"size": self.terms.stride}}}

    @cached_property
    def reverse(self) -> Trial:
        """All steps with the plugins enabled in the opposite order."""
        return self.trial("reverse", dict(reversed(self.plugins.items())))

    @cached_property
    def together(self) -> str:
        """How a run differs that is halved, in reverse order and has large dispatches; nothing if it does not.

        Then none of these matters, and the runs that change one of them need not be made, each of which compiles.
        """
        whole = self.whole
        plugins: Plugins = {"strides": Strides, **dict(reversed(self.plugins.items()))}
        try:
            first, second = self.halved("together", plugins, self.stride)
        except Exception as error:
            return f"it fails: {error}"
        sizes = [*first.sizes, *second.sizes]
        if set(sizes) != {self.terms.stride} or sum(sizes) != self.terms.steps:
            return f"it has dispatches of {sizes} steps"
        steps = sorted(first.logged.keys() | second.logged.keys())
        if steps != sorted(whole.logged):
            return f"it has records at steps {steps}"
        if any(whole.losses[step] != loss for step, loss in first.losses.items()):
            return f"it begins with the losses {first.losses}"
        return difference(whole, second, self.terms.called, self.terms.volatile)

    def configured(self) -> tuple[DictConfig, Registry]:
        """The config of a run and its plugins, which are the caller's to close."""
        return configure(layered(self.folder("configured"), *self.settings()), self.plugins)

    def typed(self, layers: Layers) -> DictConfig:
        """A config read again."""
        return build(layers, {name: found.Config for name, found in self.plugins.items()})

    @cached_property
    def config(self) -> DictConfig:
        """The config of a run as the plugin gets it."""
        return self.typed(layered(self.root, *self.settings()))

    def must_build(self) -> None:
        """Make the plugin, unless it was.

        Raises:
            AssertionError: it cannot be made, which is the matter of one test: the others only mention it.
        """
        if self.built:
            return
        try:
            _, registry = self.configured()
        except Exception:
            test = "test_it_builds_from_its_defaults"
            raise AssertionError(f"{self.terms.called} does not build from its defaults: see {test}") from None
        registry.close(logging.getLogger(__name__))
        self.built = True

    def made(self, kind: type[Plugin] | None = None) -> Plugin:
        """The plugin, or one of another class, made as the core makes it; it never runs."""
        self.must_build()
        plugin = (kind or self.terms.plugin)(self.config.plugins[self.terms.called])
        plugin.name = self.terms.called
        return plugin


def makes_checkpointer(kind: type[Plugin]) -> bool:
    """Whether a plugin fills that slot; one that wraps it still needs somebody who does."""
    options = getattr(getattr(kind, "make_checkpointer", None), "mindloom_impl", None)
    return options is not None and not (options["wrapper"] or options["hookwrapper"])
