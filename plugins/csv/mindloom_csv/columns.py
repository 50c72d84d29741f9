"""What the picture's and the caption's column are called: one rule for every kind of list."""

from __future__ import annotations

from collections.abc import Sequence

Columns = Sequence[tuple[Sequence[str], str]]
"""``[(names, setting), (names, setting)]``, of pictures, then of captions: the first name that a list has is taken."""

USUAL_IMAGE = "file_name"
"""What lists of other tools (image folders of the ``datasets`` library) call the picture's column."""


def columns(image: str, caption: str, section: str) -> Columns:
    """The names to look for.

    Args:
        image: the configured name, looked for first.
        caption: the configured name, the only one.
        section: the settings' section, to blame.
    """
    return [((image, USUAL_IMAGE), f"{section}.image_column"), ((caption,), f"{section}.caption_column")]
