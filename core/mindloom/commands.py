"""Sub-commands that plugins bring: listed from metadata, imported when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .blame import blamed
from .discovery import Found
from .errors import TrainingError, UserError


@dataclass(frozen=True)
class Command:
    """A sub-command.

    Attributes:
        name: what is typed.
        offers: who brings it, and its ``module:function``. More than one is a clash, which matters to those only who
            type the name.
    """

    name: str
    offers: tuple[tuple[Found, str], ...]

    @property
    def about(self) -> str:
        """The line that ``mindloom --help`` shows: all that is known without an import."""
        return f"brought by the plugin {' and by '.join(found.name for found, _ in self.offers)}"

    def run(self, argv: list[str]) -> int:
        """Import the function, call it with what stands behind the name, and return its exit code.

        Raises:
            UserError: several plugins bring the command, or it cannot be imported.
        """
        if len(self.offers) > 1:
            both = " and ".join(repr(found.name) for found, _ in self.offers)
            raise UserError(f"plugins {both} both bring the command {self.name!r}: uninstall one of them")
        found, target = self.offers[0]
        try:
            return int(found.function(target)(argv) or 0)
        except (UserError, TrainingError):
            raise
        except Exception as error:
            raise blamed(error, found.name, None, f"the command {self.name}") from error


def commands(available: Mapping[str, Found]) -> dict[str, Command]:
    """Every sub-command that plugins bring, enabled or not. Two plugins of one distribution bring the same one."""
    offers: dict[str, dict[str, Found]] = {}
    for found in available.values():
        for name, target in found.commands:
            offers.setdefault(name, {}).setdefault(target, found)
    return {
        name: Command(name, tuple((found, target) for target, found in targets.items()))
        for name, targets in offers.items()
    }
