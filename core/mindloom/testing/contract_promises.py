"""The part of the contract that trains nothing: what a plugin says of itself, its settings, and its import."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .. import api
from ..discovery import discover
from ..errors import UserError
from ..layers import Layers
from ..parsing import read_yaml
from .contract_terms import Terms
from .faults import implemented
from .fresh import importer_of_mindspore

PLAIN = "use settings that are bool, int, float or str, and lists and dicts of them, without ${...}"


class Promises(Terms):
    """Tests that take milliseconds, and a fresh process that imports the plugin."""

    def test_its_class_says_what_it_does(self) -> None:
        """``mindloom plugins list`` shows the first line of the docstring, and the core calls some hook of it."""
        lines = (vars(self.plugin).get("__doc__") or "").strip().splitlines()
        assert lines, f"{self.plugin.__name__} has no docstring: say in one line what the plugin does"
        assert len(lines[0]) <= 120, f"the first line of its docstring has {len(lines[0])} characters: at most 120"
        assert implemented(self.runs.made()), f"{self.plugin.__name__} implements no hook: mark methods with @hookimpl"

    def test_its_metadata_and_its_class_name_the_same_api(self) -> None:
        """The core refuses a plugin for another version by its metadata, before it is imported.

        What is neither installed nor checked out under this name has no metadata, and its class speaks alone.
        """
        api.check_version(self.called, self.plugin.__module__, self.plugin.api)
        found = discover().get(self.called)
        if found is not None and found.attribute(found.target) is self.plugin:
            assert found.api == self.plugin.api, (
                f"the class says api = {self.plugin.api} and its metadata {found.api}: let the entry-point group "
                f"mindloom.api say {self.called} = {self.plugin.api}, and install it again"
            )

    def test_it_builds_from_its_defaults(self) -> None:
        """Being enabled is enough, with the settings that the contract names; tests may make it by hand."""
        config = self.plugin.Config
        assert is_dataclass(config), f"{self.plugin.__name__}.Config is no dataclass: decorate it with @dataclass"
        try:
            _, registry = self.runs.configured()
            registry.plugins[self.called].close()
            self.plugin().close()
        except Exception as error:
            raise AssertionError(
                f"{self.called} cannot be made from its defaults ({error}): give every setting a default, and let "
                "__init__ take nothing but cfg = None"
            ) from error

    def test_its_settings_survive_yaml(self) -> None:
        """A run writes its config beside its outputs, to be used again."""
        self.runs.must_build()
        cfg, registry = self.runs.configured()
        registry.plugins[self.called].close()
        file = self.runs.folder("configured") / "config.yaml"
        file.write_text(OmegaConf.to_yaml(cfg), encoding="utf-8")
        layers = Layers()
        try:
            layers.add(file.name, read_yaml(file))
            again = dict(self.runs.typed(layers).plugins[self.called])
            before = dict(cfg.plugins[self.called])
        except (UserError, OmegaConfBaseException) as error:
            raise AssertionError(f"the config that a run writes cannot be read again ({error}): {PLAIN}") from error
        for key, value in before.items():
            assert (repr(again[key]), type(again[key])) == (repr(value), type(value)), (
                f"the setting {key} is {value!r}, and {again[key]!r} when it is read again: {PLAIN}"
            )

    def test_every_setting_has_a_help_text(self) -> None:
        """``mindloom plugins show`` prints them."""
        silent = [key for key, text in helped(self.plugin.Config).items() if not text]
        assert not silent, f"no help text for {', '.join(silent)}: declare it as setting(default, text)"

    def test_importing_it_does_not_import_mindspore(self) -> None:
        """Listing plugins and reading configs must stay instant; mindspore takes more than a second."""
        where = importer_of_mindspore(self.plugin.__module__)
        assert not where, f"importing the plugin imports mindspore ({where}): import it inside the hooks that need it"


def helped(config: type[Any], prefix: str = "") -> dict[str, str]:
    """Every setting, dotted, with its help text; a section has none of its own."""
    found: dict[str, str] = {}
    for each in fields(config):
        default = each.default if each.default_factory is MISSING else each.default_factory()
        if is_dataclass(default):
            found |= helped(type(default), f"{prefix}{each.name}.")
        else:
            found[prefix + each.name] = each.metadata.get("help", "")
    return found
