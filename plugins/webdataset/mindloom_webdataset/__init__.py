"""The plugin ``webdataset``: captioned images in tar shards, read one after another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mindloom import Plugin, UserError, hookimpl
from mindloom.formats import Format, RawSample
from mindloom.schema import setting
from mindloom.shards import Shard, counted, find_shards, is_url

from .stream import Shards
from .writer import write

if TYPE_CHECKING:
    from mindloom.world import World

__all__ = ["Webdataset"]


class Webdataset(Plugin):
    """Captioned images in tar shards, read one after another."""

    cfg: Any

    @dataclass
    class Config:
        """What the shards hold, and how they are read."""

        caption_key: str = setting("text", "key of the caption in a sample's json; empty: captions are in its txt")
        samples_per_shard: int = setting(0, "samples in every shard that no description counts; 0: count them")
        shuffle_buffer: int = setting(1000, "samples that are shuffled together; 0: only shards are shuffled")
        remote: bool = setting(False, "allow pipe: and other URLs, which run programs and use the network")

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.seed, self.shuffle = 0, False

    @hookimpl
    def on_configure(self, cfg: Any) -> None:
        """Take the seed and whether to shuffle from the run."""
        for key in ("samples_per_shard", "shuffle_buffer"):
            if getattr(self.cfg, key) < 0:
                raise UserError(f"it must be 0 or more, not {getattr(self.cfg, key)}", setting=self._setting(key))
        self.seed, self.shuffle = cfg.seed, cfg.data.shuffle

    @hookimpl
    def add_formats(self) -> dict[str, Format]:
        """Offer the format ``webdataset``."""
        return {"webdataset": Format(self.open, self.write)}

    def open(self, path: str, world: World) -> Shards:
        """Find the shards and their counts. Samples are not looked at before they are asked for.

        Raises:
            UserError: there are none, they are remote although that is off, or nobody knows how many samples they hold.
        """
        shards = [self._allowed(shard, path) for shard in find_shards(path)]
        buffer = max(self.cfg.shuffle_buffer, 1) if self.shuffle else 1
        return Shards(counted(shards), self.cfg.caption_key, self.seed, self.shuffle, buffer)

    def write(self, samples: Iterable[RawSample], folder: Path) -> int:
        """Write shards and their description; see :func:`mindloom_webdataset.writer.write`."""
        return write(samples, folder, self.cfg.caption_key)

    def _allowed(self, shard: Shard, path: str) -> Shard:
        if is_url(shard.url) and not self.cfg.remote:
            key = self._setting("remote")
            raise UserError(
                f"{shard.url} would run a program or use the network: set {key}=true if you trust {path}", setting=key
            )
        if shard.samples is None and self.cfg.samples_per_shard:
            return replace(shard, samples=self.cfg.samples_per_shard)
        if shard.samples is None and is_url(shard.url):
            key = self._setting("samples_per_shard")
            raise UserError(
                f"nobody knows how many samples {shard.url} holds: set {key}, or list the shards in a data_info.json",
                setting=key,
            )
        return shard

    def _setting(self, key: str) -> str:
        return f"plugins.{self.name or 'webdataset'}.{key}"
