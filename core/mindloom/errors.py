"""The errors that reach a person: one line that says what, where it was set, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Wrong use: a setting, a path, a file. Shown as one line; the exit code is 2.

    Args:
        message: what is wrong and what to do about it.
        setting: dotted name of the setting to blame, if there is one. The command line adds where it was set.
    """

    exit_code = 2

    def __init__(self, message: str, setting: str = "") -> None:
        super().__init__(message)
        self.setting = setting


class TrainingError(Exception):
    """The run cannot go on although it was asked for correctly. Shown as one line; the exit code is 1."""

    exit_code = 1


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Compose "there is no ...", with the nearest known name if one is near."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"
    return f"there is no {what}: {hint}"
