"""Opening the data of a run: the format found, several places joined, and an order for their samples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..formats import Format, OpenFormat, Source, Stream
from ..makers import answering
from ..plan import Order, Plan
from ..results import describe, lacking
from . import mix
from .bucketing import bucketed
from .pipeline import Pipeline

if TYPE_CHECKING:
    from ..run import Run

DATA_PATH = "data.path"
PATTERN = re.compile(r"[{*?\[]|^pipe:|^[A-Za-z][A-Za-z0-9+.-]*://")
"""A path that matches is a pattern or a URL: only its format can tell whether there is anything."""


def make_pipeline(run: Run) -> Pipeline:
    """The core's dataset over ``data.path`` or ``data.mix``.

    Raises:
        UserError: there is no data, or the settings do not fit it.
    """
    cfg = run.cfg
    if cfg.data.mix and cfg.data.path:
        raise UserError("data.path and data.mix both say where the data is: set one of them", setting="data.mix")
    parts = mix.parse(list(cfg.data.mix))
    source = open_parts(run, parts) if parts else open_source(run)
    if is_stream(source):
        if cfg.data.buckets:
            raise UserError(
                "buckets need samples in any order, which a stream does not give: use an indexed format that reads the "
                "same files in its place (--plugins), or data.buckets=0",
                setting="data.buckets",
            )
        return Pipeline(run, source, len(source), None)
    indexed: Any = source
    shares = mix.takes(parts, indexed.counts) if parts else [len(source)]
    seed, shuffle = cfg.seed, cfg.data.shuffle

    def order() -> Order:
        if cfg.data.buckets:
            return bucketed(run, indexed, repeats)
        if parts:
            return mix.MixOrder(indexed.counts, shares, seed, shuffle)
        return Plan(len(source), seed, shuffle)

    repeats = mix.whole(parts, indexed.counts) if parts and cfg.data.buckets else None
    return Pipeline(run, indexed, sum(shares), order)


def is_stream(source: Source | Stream) -> bool:
    """Whether samples come one after another only."""
    return not hasattr(source, "__getitem__")


def open_parts(run: Run, parts: list[mix.Part]) -> mix.Joined:
    """Open every entry of ``data.mix``.

    Raises:
        UserError: one of them cannot be opened, or is a stream.
    """
    sources: list[Any] = [open_source(run, part.path, mix.SETTING) for part in parts]
    for part, source in zip(parts, sources, strict=True):
        if is_stream(source):
            raise UserError(
                f"{part.path} is a stream, which data.mix cannot join: use an indexed format that reads the same files "
                "in its place (--plugins)",
                setting=mix.SETTING,
            )
    return mix.Joined(sources, parts)


def open_source(run: Run, path: str | None = None, setting: str = DATA_PATH) -> Source | Stream:
    """Open samples with the format that ``data.format`` names, or with the only one there is.

    Args:
        path: where they are; None means ``data.path``.
        setting: the setting that ``path`` was taken from, to blame in errors.

    Raises:
        UserError: no path, no such folder, no or several formats, or no samples.
    """
    name, owner, open_format = offered(run)
    wanted = run.cfg.data.path if path is None else path
    if not wanted:
        raise UserError("no data to train on: say where it is with --data_path FOLDER (or data.path in the config)")
    flag = "--data_path" if setting == DATA_PATH else setting
    place = str(wanted) if PATTERN.search(str(wanted)) else str(Path(wanted).expanduser())
    if not PATTERN.search(place) and not Path(place).exists():
        raise UserError(f"there is no data at {place}: check {flag}", setting=setting)
    try:
        with answering(run.plugins, "add_formats", [owner], open_format):
            source = open_format(place, run.world)
            count = _count(source, name)
    except UserError as error:
        # A format knows of data.path only; the setting to blame is the one that the path came from.
        raise UserError(str(error), setting=setting if error.setting == DATA_PATH else error.setting) from error
    if count == 0:
        raise UserError(f"{place} holds no samples that the format {name!r} finds", setting=setting)
    return source


def _count(source: Any, name: str) -> int:
    missing = lacking(source, ("__len__",)) or (lacking(source, ("__getitem__",)) and lacking(source, ("read",)))
    if missing:
        raise TypeError(
            f"the format {name!r} must open something with __len__ and either __getitem__ or read, "
            f"not {describe(source)}"
        )
    count = source.__len__()  # len() would not say whose it is
    if not hasattr(count, "__index__") or count < 0:
        raise TypeError(f"the len() of what the format {name!r} opens must be a number, not {describe(count)}")
    return int(count)


def offered(run: Run) -> tuple[str, str, OpenFormat]:
    """The format of the run: its name, the plugin that offers it, and what opens it.

    Raises:
        UserError: no format, or several of which none is chosen.
    """
    formats: dict[str, tuple[str, OpenFormat | Format]] = run.plugins.offers("add_formats", what="dataset format")
    name = run.cfg.data.format or (next(iter(formats)) if len(formats) == 1 else "")
    if not formats:
        raise UserError("no plugin offers a dataset format: enable one with --plugins (see: mindloom plugins list)")
    if name not in formats:
        have = ", ".join(sorted(formats))
        if name:
            raise UserError(
                f"the dataset format {name!r} is not on: set data.format to {have}, or switch on the plugin that "
                "offers it (--plugins)",
                setting="data.format",
            )
        raise UserError(f"several dataset formats are on: set data.format to one of {have}", setting="data.format")
    owner, found = formats[name]
    return name, owner, found.open if isinstance(found, Format) else found
