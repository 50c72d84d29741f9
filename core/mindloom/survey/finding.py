"""Opening a data set whose format nobody named: every format is tried, and the one that fits is taken."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ..blame import blaming
from ..data.opening import PATTERN, is_stream
from ..discovery import Found
from ..errors import UserError, unknown
from ..formats import Format, OpenFormat, Source, Stream
from ..layers import Layers, plugin_name
from ..session import LOG, configure, load_plugins
from ..world import World

DATA_PATH = "data.path"


@dataclass(frozen=True)
class Opened:
    """A data set.

    Attributes:
        path: where it is, ``~`` expanded.
        format: what fits it.
        source: its samples.
        formats: every format that is on.
        cfg: the settings; only those of ``data`` and of formats' plugins count.
        warned: what the format has complained of so far, such as a shard that is cut off.
    """

    path: str
    format: str
    source: Source | Stream
    formats: Mapping[str, Format]
    cfg: DictConfig
    warned: Warned


class Warned(logging.Handler):
    """Holds warnings back, each once, for they belong into the report; the rest goes its way."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, None] = {}
        self.ever: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING:
            logging.getLogger().handle(record)
            return
        self.messages[record.getMessage()] = None
        self.ever[record.getMessage()] = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hold back what is logged meanwhile; after a failure, which leaves no report, it is told at last."""
        propagate, LOG.propagate = LOG.propagate, False
        LOG.addHandler(self)
        failed = True
        try:
            yield
            failed = False
        finally:
            LOG.removeHandler(self)
            LOG.propagate = propagate
            for message in self.ever if failed else ():
                LOG.warning("%s", message)


@contextmanager
def opened(path: str, name: str, layers: Layers, available: Mapping[str, Found], also: str = "") -> Iterator[Opened]:
    """Enable the plugins of formats, find the format of a data set, and close it all at the end.

    Args:
        path: what a format can make sense of.
        name: of the format; empty: whichever fits.
        layers: settings, and plugins switched on and off by hand. Plugins of formats are added to them.
        available: every plugin there is.
        also: another format to have among ``formats``.

    Raises:
        UserError: there is nothing, no format or more than one fits, or a setting is wrong.
    """
    place = path if PATTERN.search(path) else str(Path(path).expanduser())
    if not PATTERN.search(path) and not os.path.exists(place):
        raise UserError(f"there is no data at {place}: check the path")
    typed = {*layers.values.get("plugins", {}), *(Path(plugin).stem for plugin in layers.enabled)}
    reasons = enable(layers, available, [wanted for wanted in (name, also) if wanted] if name else [])
    cfg, registry = configure(layers, load_plugins(layers, available))
    source, warned = None, Warned()
    try:
        with warned.listening(), blaming(registry.plugins):
            offers: dict[str, OpenFormat | Format] = registry.merge("add_formats", what="dataset format")
            formats = {offered: _whole(offer) for offered, offer in offers.items()}
            for wanted in (name, also):
                if wanted and wanted not in formats:
                    known = {other for found in available.values() for other, _ in found.formats}
                    raise UserError(unknown(f"dataset format {wanted!r}", wanted, {*formats, *known}))
            if name:
                chosen, source = name, formats[name].open(place, World())
                if not len(source):
                    raise UserError(f"{place} holds no samples that the format {name!r} finds")
            else:
                meant = {f for plugin, offer in registry.collect("add_formats") if plugin in typed for f in offer}
                chosen, source = _fitting(place, formats, meant, reasons, warned)
            yield Opened(place, chosen, source, formats, cfg, warned)
    finally:
        _close(source)
        registry.close(LOG)


def _whole(offer: OpenFormat | Format) -> Format:
    return offer if isinstance(offer, Format) else Format(offer)


def enable(layers: Layers, available: Mapping[str, Found], wanted: Sequence[str]) -> dict[str, str]:
    """Switch on the plugins that offer the wanted formats, or all of them if none is wanted in particular.

    Returns:
        Format -> why its plugin cannot be loaded, for those that nobody asked for.
    """
    owners = {known: found for found in available.values() for known, _ in found.formats}
    reasons: dict[str, str] = {}
    for known in wanted or owners:
        found = owners.get(known)
        if found is None or found.name in map(plugin_name, layers.enabled):  # a file has been typed: it wins
            continue
        try:
            found.load()
        except UserError as error:
            if wanted:
                raise
            reasons[known] = str(error)
            continue
        layers.enable(found.name, "command line")
    return reasons


def _fitting(
    path: str, formats: Mapping[str, Format], meant: set[str], reasons: dict[str, str], warned: Warned
) -> tuple[str, Source | Stream]:
    """Try every format.

    Of several that fit, those that are ``meant`` win: somebody switched their plugins on or typed settings for them.
    Then indexed ones win over streams, which give the same samples in one order only.
    """
    if not (formats or reasons):
        raise UserError("no plugin offers a dataset format: install one (see: mindloom plugins list)")
    fits: dict[str, Source | Stream] = {}
    warnings: dict[str, dict[str, None]] = {}
    for name, known in formats.items():
        warnings[name] = warned.messages = {}
        reason, source = _try(known.open, path)
        if source is None:
            reasons[name] = reason
        else:
            fits[name] = source
    wanted = {name: source for name, source in fits.items() if name in meant} or fits
    best = {name: source for name, source in wanted.items() if not is_stream(source)} or wanted
    if len(best) == 1:
        ((chosen, source),) = best.items()
        warned.messages = warnings[chosen]
        for name, other in fits.items():
            if name != chosen:
                _close(other)
        return chosen, source
    for source in fits.values():
        _close(source)
    if best:
        raise UserError(f"{path} fits several formats: choose one with --format {' or '.join(sorted(best))}")
    tried = "; ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items()))
    raise UserError(f"no format fits {path} ({tried})")


def _try(open_format: OpenFormat, path: str) -> tuple[str, Any]:
    source = None
    try:
        source = open_format(path, World())
        if len(source):
            return "", source
        reason = "it holds no samples"
    except (UserError, OSError, ValueError) as error:
        reason = str(error)
    _close(source)
    return reason, None


def _close(source: Any) -> None:
    close: Callable[[], None] | None = getattr(source, "close", None)
    if close is not None:
        close()
