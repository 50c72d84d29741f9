"""The plugin ``csv``: captioned images that CSV files list, one row each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mindloom import Plugin, hookimpl
from mindloom.schema import setting

from .source import Listed

if TYPE_CHECKING:
    from mindloom.formats import OpenFormat
    from mindloom.world import World

__all__ = ["Csv"]


class Csv(Plugin):
    """Captioned images listed in CSV files, in a folder and its sub-folders."""

    cfg: Any

    @dataclass
    class Config:
        """The names in the header line."""

        image_column: str = setting("dir", "column of image paths, relative to the folder of their CSV file")
        caption_column: str = setting("text", "column of captions")

    @hookimpl
    def add_formats(self) -> dict[str, OpenFormat]:
        """Offer the format ``csv``."""
        return {"csv": self.open}

    def open(self, path: Path, world: World) -> Listed:
        """List the samples of a folder or of one CSV file. Images are not looked at before they are asked for.

        Raises:
            UserError: there is no CSV file, or one of them cannot be understood.
        """
        columns = {"image_column": self.cfg.image_column, "caption_column": self.cfg.caption_column}
        return Listed(path, {f"plugins.{self.name or 'csv'}.{key}": column for key, column in columns.items()})
