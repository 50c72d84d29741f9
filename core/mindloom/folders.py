"""The run folder: which one it is, what the core writes into it, and how a refused run leaves none behind."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from .errors import UserError
from .locks import lock

if TYPE_CHECKING:
    from .checkpoint import Checkpointer
    from .world import World

CONFIG, RESUMED, LOG_FILE = "config.yaml", "config-resumed-at-{:08d}.yaml", "run.log"


def find_checkpoint(cfg: DictConfig, checkpointer: Checkpointer | None) -> Path | None:
    """Resolve ``resume``."""
    if not cfg.resume:
        return None
    if checkpointer is None:
        raise UserError("resume needs a plugin that reads checkpoints (see: mindloom plugins list)", setting="resume")
    return checkpointer.find(cfg.resume, Path(cfg.save_path).expanduser())


def new_run_folder(cfg: DictConfig, checkpointer: Checkpointer | None) -> Path:
    """The folder for a run that starts afresh.

    Raises:
        UserError: it would write into another run's checkpoints.
    """
    root = Path(cfg.save_path).expanduser()
    if not cfg.save_path_with_time:
        if checkpointer is not None and checkpointer.latest(root) is not None:
            raise UserError(
                f"{root} already holds checkpoints: go on with --resume latest, or choose another --save_path",
                setting="save_path",
            )
        return root
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    path, count = root / stamp, 1
    while path.exists():
        count += 1
        path = root / f"{stamp}_{count}"
    return path


def saved_config(resume: str) -> Path | None:
    """The config that a run folder, or a checkpoint in it, was written with; the last one if it was resumed.

    Args:
        resume: a folder, up to two levels below its run folder; ``latest`` is none.
    """
    place = Path(resume).expanduser()
    if not resume or resume == "latest" or not place.is_dir():
        return None
    if (place / CONFIG).is_file() and not (place / LOG_FILE).exists():  # a checkpoint with a config of its own
        return place / CONFIG
    for folder in (place, *list(place.absolute().parents)[:2]):
        if (folder / LOG_FILE).is_file() and (folder / CONFIG).is_file():
            return [folder / CONFIG, *sorted(folder.glob("config-resumed-at-*.yaml"))][-1]
    return None


class Folder:
    """A run folder while its run lasts. Only the main process opens it."""

    def __init__(self, path: Path, log: logging.Logger) -> None:
        self.path, self.log = path, log
        self.made: list[Path] = []
        self.handler: logging.FileHandler | None = None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what the system refuses into one line."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"the output folder {self.path} cannot be written ({error.strerror}): choose another --save_path",
                setting="save_path",
            ) from None

    def open(self, resumed: bool = False) -> None:
        """Make the folder and start its log, which is locked while it is open.

        Args:
            resumed: somebody named the folder by what to resume from.

        Raises:
            UserError: it cannot be written, or another run is writing into it.
        """
        with self.writing():
            absent = [path for path in (self.path, *self.path.parents) if not path.exists()]
            for path in reversed(absent):
                path.mkdir(exist_ok=True)
                self.made.append(path)
            self.note(self.path / LOG_FILE)
            self.handler = logging.FileHandler(self.path / LOG_FILE, encoding="utf-8", errors="backslashreplace")
        assert self.handler.stream is not None
        if not lock(self.handler.stream):
            self.made.clear()  # the other's, even if both came at once
            other = "" if resumed else ", or choose another --save_path"
            raise UserError(
                f"another run is writing into {self.path}: wait until it ends{other}",
                setting="resume" if resumed else "save_path",
            )
        self.handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self.log.addHandler(self.handler)

    def note(self, file: Path) -> Path:
        """Remember a file about to be written, unless it was there before."""
        if not file.exists():
            self.made.append(file)
        return file

    def write_config(self, cfg: DictConfig, resumed_at: int | None = None) -> None:
        """Write the merged config; beside the one that the run began with if it goes on from a step."""
        with self.writing():
            begun = resumed_at is not None and (self.path / CONFIG).exists()
            file = self.path / (RESUMED.format(resumed_at) if begun else CONFIG)
            self.note(file).write_text(OmegaConf.to_yaml(cfg))

    def keep_traceback(self, error: BaseException, world: World) -> None:
        """Write the traceback, each process into a file of its own, and say where."""
        if self.path.is_dir():
            file = self.path / ("error.txt" if world.size == 1 else f"error-rank-{world.rank}.txt")
            with suppress(Exception):  # neither a full disk nor an odd message may hide the error itself
                lines = traceback.format_exception(error)
                file.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
                error.add_note(f"traceback: {file}")

    def close(self, refused: bool = False) -> None:
        """End the log; take away what a refused run wrote, unless others wrote into the folder too."""
        if self.handler is not None:
            self.log.removeHandler(self.handler)
        if refused:
            self._take_back()
        if self.handler is not None:
            self.handler.close()  # not before, or the next run may open the log that is being taken away

    def _take_back(self) -> None:
        if self.path in self.made and set(self.path.iterdir()) - set(self.made):
            return
        with suppress(OSError):  # a folder above that is not empty stays
            for path in reversed(self.made):
                path.rmdir() if path.is_dir() else path.unlink()
