"""What a dataset format delivers, and how the one for this run is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .errors import UserError

if TYPE_CHECKING:
    from .run import Run
    from .world import World


class Source(Protocol):
    """Indexed samples, not decoded: ``{"image": bytes, "caption": str, "id": str}``.

    ``__getitem__`` is called from several threads at once. It may raise ``OSError``, ``ValueError`` or ``KeyError``
    for one broken sample: that sample is counted and replaced, the run goes on.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


OpenFormat = Callable[[Path, "World"], Source]
DATA_PATH = "data.path"


def open_source(run: Run, path: str | None = None, setting: str = DATA_PATH) -> Source:
    """Open samples with the format that ``data.format`` names, or with the only one there is.

    Args:
        path: where they are; None means ``data.path``.
        setting: the setting that ``path`` was taken from, to blame in errors.

    Raises:
        UserError: no path, no such folder, no or several formats, or no samples.
    """
    name, open_format = _format(run)
    wanted = run.cfg.data.path if path is None else path
    if not wanted:
        raise UserError("no data to train on: say where it is with --data_path FOLDER (or data.path in the config)")
    flag = "--data_path" if setting == DATA_PATH else setting
    place = Path(wanted).expanduser()
    if not place.exists():
        raise UserError(f"there is no data at {place}: check {flag}", setting=setting)
    try:
        source = open_format(place, run.world)
    except UserError as error:
        # A format knows of data.path only; the setting to blame is the one that the path came from.
        raise UserError(str(error), setting=setting if error.setting == DATA_PATH else error.setting) from error
    if len(source) == 0:
        raise UserError(f"{place} holds no samples that the format {name!r} finds", setting=setting)
    return source


def _format(run: Run) -> tuple[str, OpenFormat]:
    formats: dict[str, OpenFormat] = run.plugins.merge("add_formats", what="dataset format")
    name = run.cfg.data.format or (next(iter(formats)) if len(formats) == 1 else "")
    if not formats:
        raise UserError("no plugin offers a dataset format: enable one with --plugins (see: mindloom plugins list)")
    if name not in formats:
        have = ", ".join(sorted(formats))
        what = f"there is no dataset format {name!r}" if name else "several dataset formats are on"
        raise UserError(f"{what}: set data.format to one of {have}", setting="data.format")
    return name, formats[name]
