"""The plugin ``wids``: captioned images in tar shards, read in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mindloom import Plugin, UserError, hookimpl
from mindloom.schema import setting
from mindloom.shards import counted, find_shards, is_url

from .source import Indexed

if TYPE_CHECKING:
    from mindloom.formats import OpenFormat
    from mindloom.world import World

__all__ = ["Wids"]


class Wids(Plugin):
    """Captioned images in tar shards, read in any order: every epoch is shuffled over all shards."""

    cfg: Any

    @dataclass
    class Config:
        """How samples are read."""

        caption_key: str = setting("text", "key of the caption in a sample's json; empty: captions are in its txt")
        lru: int = setting(64, "shards that are open at a time")

    @hookimpl
    def add_formats(self) -> dict[str, OpenFormat]:
        """Offer the format ``wids``."""
        return {"wids": self.open}

    def open(self, path: str, world: World) -> Indexed:
        """Find the shards of a folder, a pattern or a ``wids-shard-index-v1`` file.

        Raises:
            UserError: there are none, one of them is not local or damaged in a way that hides its samples, or ``wids``
                cannot be imported.
        """
        section = f"plugins.{self.name or 'wids'}"
        if self.cfg.lru < 1:
            raise UserError(f"at least 1 shard must be open, not {self.cfg.lru}", setting=f"{section}.lru")
        shards = find_shards(path)
        remote = next((shard.url for shard in shards if is_url(shard.url)), None)
        if remote is not None:
            raise UserError(
                f"{remote[:200]} is not a local file, which reading in any order needs: download the shards first",
                setting="data.path",
            )
        return Indexed(counted(shards), self.cfg.caption_key, self.cfg.lru)
