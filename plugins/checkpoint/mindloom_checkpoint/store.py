"""Checkpoints in a run folder: written so that a kill at any moment leaves the last complete one, found, and rotated.

::

    <run>/checkpoints/step-00000012/        model, optimizer and plugins .safetensors, config.yaml, state.json
                      .tmp-...              being written or removed: never read, cleared by the next save
                      .old-step-00000012    a complete one making way for another of its step; readable till then
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from mindloom import TrainingError, UserError
from mindloom.checkpoint import GROUPS, Snapshot

from . import tensors
from .durable import sync_folder, write
from .manifest import STATE, SUFFIX, Entry, UnusableError, check_hashes, read_entry, write_state

LOG = logging.getLogger("mindloom")
FOLDER = "checkpoints"
STEP, OLD, TEMPORARY = "step-", ".old-", ".tmp-"


def sorted_out(folders: Iterable[Path]) -> tuple[list[Entry], list[tuple[Path, UnusableError]]]:
    """The checkpoints in some ``checkpoints`` folders, the newest last: the complete ones, and others with why not.

    When an incomplete one was saved is not known: its folder's time and its step decide.
    """
    found, unusable = [], []
    for folder in folders:
        for path in [*folder.glob(STEP + "*"), *folder.glob(OLD + STEP + "*")]:
            try:
                found.append(read_entry(path))
            except UnusableError as reason:
                unusable.append((path, reason))
    unusable.sort(key=lambda pair: (pair[0].parent.stat().st_mtime, pair[0].name.removeprefix(OLD)))
    return sorted(found, key=lambda entry: entry.age), unusable


def entries(folders: Iterable[Path]) -> list[Entry]:
    """The complete checkpoints in some ``checkpoints`` folders, the newest last."""
    return sorted_out(folders)[0]


def below(root: Path) -> list[Path]:
    """The ``checkpoints`` folders of the run folder ``root``, and of any run folder directly below it."""
    return [root / FOLDER, *root.glob(f"*/{FOLDER}")]


def usable(path: Path) -> bool:
    """Whether a folder is a complete checkpoint."""
    try:
        read_entry(path)
    except UnusableError:
        return False
    return True


class Store:
    """The checkpointer of this plugin; see ``mindloom.checkpoint.Checkpointer``.

    Args:
        config: the merged config as YAML, stored with every checkpoint.
        keep: newest checkpoints of the run to keep; 0 keeps all.
        background: whether the core may call ``save`` in a thread.
    """

    def __init__(self, config: str, keep: int, background: bool = False) -> None:
        self.config, self.keep, self.background = config, keep, background

    def prepare(self, run_folder: Path) -> None:
        """Make the folder for checkpoints and clear what a killed run left in it.

        Raises:
            UserError: it cannot be written.
        """
        try:
            self._prepare(run_folder)
        except OSError as error:
            place = run_folder / FOLDER
            raise UserError(
                f"checkpoints cannot be written to {place} ({error.strerror}): choose another --save_path",
                setting="save_path",
            ) from None

    def _prepare(self, run_folder: Path) -> None:
        folder = run_folder / FOLDER
        (folder / f"{TEMPORARY}probe").mkdir(parents=True, exist_ok=True)
        for path in folder.glob(OLD + STEP + "*"):
            if usable(path.with_name(path.name.removeprefix(OLD))):
                path.rename(path.with_name(TEMPORARY + path.name))
        for path in folder.glob(TEMPORARY + "*"):
            shutil.rmtree(path)
        for path in (folder, run_folder, run_folder.parent):
            sync_folder(path)

    def save(self, snapshot: Snapshot, run_folder: Path) -> Path:
        """Write a snapshot, make it durable, and only then remove what is beyond ``keep``.

        Raises:
            TrainingError: it cannot be written; the checkpoints before it are untouched.
        """
        folder = run_folder / FOLDER
        name = f"{STEP}{snapshot.meta['step']:08d}"
        temporary = folder / f"{TEMPORARY}{name}"
        try:
            self._prepare(run_folder)
            before = entries([folder])
            # A clock that was set back must not make the new one look old.
            saved_at = max(time.time(), before[-1].saved_at + 1e-3 if before else 0.0)
            self._fill(temporary, snapshot, saved_at)
            self._place(temporary, folder / name)
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, OSError):
                raise TrainingError(
                    f"the checkpoint of step {snapshot.meta['step']} cannot be written to {folder} ({error.strerror}): "
                    "make room or repair it, then go on with --resume latest; earlier checkpoints are kept"
                ) from error
            raise
        self._prune(folder)
        return folder / name

    def _fill(self, folder: Path, snapshot: Snapshot, saved_at: float) -> None:
        folder.mkdir()
        groups = {**snapshot.arrays, **{group: snapshot.arrays.get(group, {}) for group in GROUPS}}
        files = {group + SUFFIX: tensors.write(folder / (group + SUFFIX), arrays) for group, arrays in groups.items()}
        files["config.yaml"] = write(folder / "config.yaml", self.config.encode())
        write_state(folder, snapshot.meta, files, saved_at)
        sync_folder(folder)

    def _place(self, new: Path, target: Path) -> None:
        """Rename ``new`` to ``target``; what is there already steps aside and goes last."""
        aside = target.with_name((OLD if usable(target) else TEMPORARY + OLD) + target.name)
        if target.exists():
            target.rename(aside)
        new.rename(target)
        sync_folder(target.parent)
        for path in (aside, target.with_name(OLD + target.name)):
            shutil.rmtree(path, ignore_errors=True)

    def _prune(self, folder: Path) -> None:
        for entry in entries([folder])[: -self.keep] if self.keep else []:
            doomed = folder / f"{TEMPORARY}{entry.path.name}"
            try:
                # Renamed first, so that a kill leaves no half a checkpoint under a checkpoint's name.
                entry.path.rename(doomed)
                shutil.rmtree(doomed)
            except OSError as error:
                LOG.warning("the old checkpoint %s cannot be removed: %s", entry.path, error.strerror)

    def latest(self, root: Path) -> Path | None:
        """The newest complete checkpoint of the run folder ``root``, or of any run folder directly below it."""
        found = entries(below(root))
        return found[-1].path if found else None

    def find(self, what: str, root: Path) -> Path:
        """Resolve ``latest`` or a step's number below ``root``, or the path of a checkpoint or of a folder with runs.

        Raises:
            UserError: there is none, or the named one is incomplete.
        """
        if what.isdecimal():
            return self._of_step(int(what), root)
        path = root if what == "latest" else Path(what).expanduser().resolve()
        if not path.is_dir():
            hint = "name its folder; weights alone go with --weight" if path.is_file() else "check the path"
            raise UserError(f"{path} is no folder to resume from: {hint}", setting="resume")
        if path.name.startswith((STEP, OLD + STEP)) or (path / STATE).exists():
            return self._checked(path)
        place = path.parent if path.name == FOLDER else path
        found = self.latest(place)
        if found is None:
            raise self._none(place, path)
        self._warn_of_newer(read_entry(found))
        return found

    def _none(self, place: Path, named: Path) -> UserError:
        _, unusable = sorted_out(below(place))
        advice = "check the path"
        if unusable:
            path, reason = unusable[-1]
            advice = f"the newest, {path}, is of no use ({reason}); restore it from a copy, or begin without --resume"
        return UserError(f"there is no complete checkpoint in {named}: {advice}", setting="resume")

    def _of_step(self, step: int, root: Path) -> Path:
        """The newest complete checkpoint of one step."""
        every, unusable = sorted_out(below(root))
        found = [entry.path for entry in every if entry.meta["step"] == step]
        if not found:
            for path, reason in unusable:
                if path.name.removeprefix(OLD) == f"{STEP}{step:08d}":
                    raise self._refusal(path, reason)
            steps = ", ".join(map(str, sorted({entry.meta["step"] for entry in every})))
            raise UserError(
                f"there is no complete checkpoint of step {step} in {root}: there are {steps or 'none at all'}",
                setting="resume",
            )
        return found[-1]

    def _checked(self, path: Path) -> Path:
        try:
            return read_entry(path).path
        except UnusableError as reason:
            raise self._refusal(path, reason) from None

    def _refusal(self, path: Path, reason: UnusableError) -> UserError:
        others = [entry for entry in entries([path.parent]) if entry.path != path]
        advice = f"use the one before: --resume {others[-1].path}" if others else "there is no other one beside it"
        return UserError(f"{path} is not a complete checkpoint: {reason}; {advice}", setting="resume")

    def _warn_of_newer(self, entry: Entry) -> None:
        for path in sorted(entry.path.parent.glob(STEP + "*")):
            if path.name > entry.path.name.removeprefix(OLD) and not usable(path):
                LOG.warning("%s is incomplete and left out", path)

    def load(self, path: Path) -> Snapshot:
        """Read a checkpoint whose hashes are right.

        Raises:
            UserError: it is incomplete or damaged.
        """
        try:
            entry = read_entry(path)
            check_hashes(entry)
            groups = [name for name in entry.files if name.endswith(SUFFIX)]
            arrays = {name.removesuffix(SUFFIX): tensors.read(path / name) for name in groups}
        except (UnusableError, OSError, ValueError) as error:
            raise self._refusal(path, UnusableError(str(error))) from None
        return Snapshot(arrays, entry.meta)

    def run_folder(self, path: Path) -> Path:
        """The run folder of a checkpoint; one that was copied out of its run starts a run beside itself."""
        return path.parent.parent if path.parent.name == FOLDER else path.parent
