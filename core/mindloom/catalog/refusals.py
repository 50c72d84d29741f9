"""Configuring a run as ``session`` does, but going on after every refusal, so that all of them can be told at once."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from graphlib import CycleError
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .. import results
from ..cli import located
from ..config import build, section_of
from ..defaults import Defaults
from ..discovery import Found
from ..errors import TrainingError, UserError
from ..layers import Layers, plugin_name
from ..plugin import Plugin
from ..registry import Registry, arrange, circle, clashes, close, wishes
from ..session import check_values, load_plugins, make_plugin
from .roles import roles, unmade


@dataclass
class Attempt:
    """What came of the layers.

    Attributes:
        layers: what was asked for.
        refusals: what a run would refuse, one line each, with the place where the setting to blame was set.
        blamed: plugins that refused, or were refused.
        mentions: enabled plugin -> how it was asked for: its name or its file.
        classes: plugins that could be imported, in the order in which they were enabled.
        made: those that could be made of their settings.
        cfg: the typed config, read-only; None when its settings cannot be typed.
        earlier: plugin -> those that shall come before it, without the wishes that closed a circle.
        registry: all plugins that could be imported, in order.
    """

    layers: Layers
    refusals: list[str] = field(default_factory=list)
    blamed: set[str] = field(default_factory=set)
    mentions: dict[str, str] = field(default_factory=dict)
    classes: dict[str, type[Plugin]] = field(default_factory=dict)
    made: dict[str, Plugin] = field(default_factory=dict)
    cfg: DictConfig | None = None
    earlier: dict[str, set[str]] = field(default_factory=dict)
    registry: Registry = field(init=False)

    @contextmanager
    def noting(self, name: str = "") -> Iterator[None]:
        """Note an error and go on.

        Args:
            name: the plugin to blame, if there is one.
        """
        try:
            yield
        except (UserError, TrainingError) as error:
            notes = (f"({note})" for note in getattr(error, "__notes__", []))
            self.refuse(" ".join([located(error, self.layers), *notes]), name)

    def refuse(self, text: str, *names: str) -> None:
        """Note a refusal that is no error."""
        if text not in self.refusals:
            self.refusals.append(text)
        self.blamed.update(filter(None, names))

    def close(self, log: logging.Logger) -> None:
        """Close the plugins that were made."""
        close(self.made, log)


def attempt(layers: Layers, available: Mapping[str, Found]) -> Attempt:
    """Import, type, make, order and configure the plugins as far as each of them goes."""
    this = Attempt(layers)
    _load(this, available)
    this.cfg = _typed(this)
    sections = {} if this.cfg is None else this.cfg.plugins
    for name, section in sections.items():
        with this.noting(name):
            this.made[name] = make_plugin(name, this.classes[name], section)
    this.registry = _ordered(this)
    results.check(this.registry)
    for rivalry in this.registry.rivals():
        this.refuse(rivalry)
    if this.cfg is not None:
        for name in filter(this.made.__contains__, this.registry.plugins):
            with this.noting(name):
                this.registry.ask(name, "on_configure", cfg=this.cfg)
        OmegaConf.set_readonly(this.cfg, True)
        for clash in clashes(_offers(this), "dataset format"):
            this.refuse(clash)
    return this


def _load(this: Attempt, available: Mapping[str, Found]) -> None:
    for mention, origin in this.layers.enabled.items():
        with this.noting(mention):
            ((name, found),) = load_plugins(Layers(enabled={mention: origin}), available).items()
            if name in this.classes:
                raise UserError(f"two plugins are called {name!r}: rename the file or switch one off")
            roles(name, found)
            section_of(name, found.Config)
            this.classes[name], this.mentions[name] = found, mention


def _typed(this: Attempt) -> DictConfig | None:
    """Type the settings; each that is refused is noted and forgotten."""
    layers = copy.deepcopy(this.layers)
    sections: dict[str, Any] = layers.values.get("plugins", {})
    for name in {plugin_name(mention) for mention in layers.enabled} - {*this.classes}:
        sections.pop(name, None)  # its plugin is on, and was refused already
    while True:
        try:
            cfg = build(layers, {name: found.Config for name, found in this.classes.items()})
            check_values(cfg)
            return cfg
        except UserError as error:
            _, _, inside = error.setting.partition("plugins.")
            this.refuse(located(error, this.layers), inside.partition(".")[0])
            if not _forget(layers.values, error.setting):
                return None


def _forget(values: dict[str, Any], key: str) -> bool:
    """Take a setting away; tell whether it was there."""
    *above, last = key.split(".")
    for part in above:
        inner = values.get(part)
        if not isinstance(inner, dict):
            return False
        values = inner
    return values.pop(last, values) is not values


def _ordered(this: Attempt) -> Registry:
    """Register the plugins in order; a circle is noted and opened."""
    plugins = {name: this.made.get(name) or unmade(name, found) for name, found in this.classes.items()}
    this.earlier = wishes(plugins)
    while True:
        try:
            order = arrange(list(plugins), this.earlier)
            break
        except CycleError as error:
            ring = error.args[1]
            this.refuse(circle(ring, plugins), *ring)
            this.earlier[ring[1]].discard(ring[0])
    for plugin in plugins.values():
        vars(plugin).update(before=(), after=())  # they are in order, and a circle is told of already
    return Registry({name: plugins[name] for name in order}, Defaults(), strict=False)


def _offers(this: Attempt) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in filter(this.made.__contains__, this.registry.plugins):
        with this.noting(name):
            yield from ((name, offers) for offers in this.registry.ask(name, "add_formats"))
