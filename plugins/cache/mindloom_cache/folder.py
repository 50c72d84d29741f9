"""The folder of the cache: where it is, whether all processes see the same one, and a store in it for each part."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mindloom import UserError

from .shard import FORMAT
from .store import Store

if TYPE_CHECKING:
    from mindloom.frozen import Frozen
    from mindloom.run import Run

SETTING = "plugins.cache.folder"


def open_folder(run: Run, folder: str, token: str) -> Path:
    """Make the folder, and see that all processes have the same one before they compute for nobody.

    Args:
        token: the same on all processes and never before.

    Raises:
        UserError: it cannot be written, or is another one elsewhere.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    path = Path(folder).expanduser() if folder else base / "mindloom" / "features"
    sign = path / f"{token}.part"
    with _writing(path):
        path.mkdir(parents=True, exist_ok=True)
        if run.world.is_main:
            sign.touch()
    run.world.share("")
    foreign = run.world.any(not sign.exists())
    if run.world.is_main:
        sign.unlink(missing_ok=True)
    if foreign:
        raise UserError(f"{path} is not the same folder on all processes: set {SETTING} to a shared one", SETTING)
    return path


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the cache folder {path} cannot be written ({error.strerror}): set {SETTING}", SETTING
        ) from None


def open_stores(
    run: Run, frozen: Frozen, fingerprints: Mapping[str, str], folder: Path, dtype: str
) -> dict[str, Store]:
    """A folder for each part, named by everything that changes its results besides the contents."""
    stores = {}
    for name, part in frozen.parts.items():
        about = {
            "format": FORMAT,
            "part": name,
            "weights": fingerprints[name],
            "settings": dict(part.settings),
            "decoder": run.cfg.data.decoder if part.pictures else "",
            "dtype": dtype,
        }
        text = json.dumps(about, sort_keys=True, indent=1)
        path = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        with _writing(path):
            path.mkdir(exist_ok=True)
            if run.world.is_main:
                (path / "about.json").write_text(text, encoding="utf-8")
        stores[name] = Store(path)
        stores[name].load(run.log, run.world.is_main)
    return stores
