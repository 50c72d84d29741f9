"""The errors that reach a person: one line that says what, where it was set, and what to do."""

from __future__ import annotations


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
