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


def open_source(run: Run) -> Source:
    """Open ``data.path`` with the format that ``data.format`` names, or with the only one there is.

    Raises:
        UserError: no path, no such folder, no or several formats, or no samples.
    """
    formats = run.plugins.merge("add_formats", what="dataset format")
    name = run.cfg.data.format or (next(iter(formats)) if len(formats) == 1 else "")
    if not formats:
        raise UserError("no plugin offers a dataset format: enable one with --plugins (see: mindloom plugins list)")
    if name not in formats:
        have = ", ".join(sorted(formats))
        what = f"there is no dataset format {name!r}" if name else "several dataset formats are on"
        raise UserError(f"{what}: set data.format to one of {have}", setting="data.format")
    if not run.cfg.data.path:
        raise UserError("no data to train on: say where it is with --data_path FOLDER (or data.path in the config)")
    path = Path(run.cfg.data.path).expanduser()
    if not path.exists():
        raise UserError(f"there is no data at {path}: check --data_path", setting="data.path")
    source = formats[name](path, run.world)
    if len(source) == 0:
        raise UserError(f"{path} holds no samples that the format {name!r} finds", setting="data.path")
    return source
