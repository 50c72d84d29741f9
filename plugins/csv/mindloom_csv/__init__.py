"""The plugin ``csv``: captioned images that lists name (CSV, TSV, JSON Lines), or that lie beside their captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mindloom import Plugin, hookimpl
from mindloom.formats import Format
from mindloom.schema import setting

from .columns import columns
from .source import Samples, find
from .writer import write

if TYPE_CHECKING:
    from mindloom.world import World

__all__ = ["Csv"]


class Csv(Plugin):
    """Captioned images listed in CSV, TSV or JSON Lines files, or with a text file each."""

    cfg: Any

    @dataclass
    class Config:
        """What lists call their columns."""

        image_column: str = setting("dir", "column of image paths; file_name is known too")
        caption_column: str = setting("text", "column of captions")

    @hookimpl
    def add_formats(self) -> dict[str, Format]:
        """Offer the format ``csv``."""
        return {"csv": Format(self.open, write)}

    def open(self, path: str, world: World) -> Samples:
        """Find the samples of a folder or of one list file. Images are not looked at before they are asked for.

        Raises:
            UserError: there is nothing of the kind, or a list cannot be understood.
        """
        section = f"plugins.{self.name or 'csv'}"
        return find(Path(path), columns(self.cfg.image_column, self.cfg.caption_column, section))
