"""Prompts from a text file: one a line."""

from __future__ import annotations

from pathlib import Path

from .errors import UserError


def read_prompts(path: str | Path, setting: str = "") -> list[str]:
    """Read a file in UTF-8; empty lines, and lines that begin with ``#``, are left out.

    Args:
        path: of the file.
        setting: to blame.

    Raises:
        UserError: it cannot be read, or holds no prompt.
    """
    path = Path(path).expanduser()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        advice = "give a text file with one prompt a line"
        raise UserError(f"the prompts {path} cannot be read ({error.strerror}): {advice}", setting) from None
    except UnicodeDecodeError:
        raise UserError(f"the prompts {path} are no text in UTF-8: save them as such", setting) from None
    prompts = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not prompts:
        raise UserError(f"the file {path} holds no prompts: write one a line", setting)
    return prompts
