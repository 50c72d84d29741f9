"""Which graphs of a run come from the cache, and what is said about it."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..blame import summary
from .key import key_of, parts
from .store import DamagedError, Store, Trial

if TYPE_CHECKING:
    from mindspore import nn
    from omegaconf import DictConfig

    from ..run import Run
    from .stage import Stage

OFF, ON = ("off", "no", "false"), ("on", "yes", "true")  # YAML reads off as False
VARIABLE = "MINDLOOM_COMPILE_CACHE"
MINDSPORES = "MS_COMPILER_CACHE_ENABLE"


def folder(cfg: DictConfig) -> Path | None:
    """Where compiled graphs are kept, or None: the setting, else the environment, else the user's cache folder."""
    wish = cfg.device.compile_cache or os.environ.get(VARIABLE, "")
    if wish.lower() in OFF:
        return None
    if wish.lower() in ON:
        wish = ""
    home = os.environ.get("XDG_CACHE_HOME")
    default = (Path(home) if home else Path.home() / ".cache") / "mindloom" / "graphs"
    return Path(wish).expanduser().absolute() if wish else default


def open_cache(run: Run) -> GraphCache | None:
    """The cache of a run whose device is set up; None if there is none, and then graphs are compiled as always."""
    place = folder(run.cfg)
    if place is None or not run.device.graph:
        return None
    if os.environ.get(MINDSPORES):
        run.log.info("compile cache: left to MindSpore, because the environment sets %s", MINDSPORES)
        return None
    return GraphCache(run, Store(place))


@dataclass(frozen=True)
class Prepared:
    """A graph that is about to be compiled, or loaded.

    Attributes:
        stage: where MindSpore looks for it.
        key: of its entry.
        made_of: what the key stands for.
    """

    stage: Stage
    key: str
    made_of: dict[str, str]

    @property
    def name(self) -> str:
        """The class of its cell."""
        return self.made_of["cell"]


class GraphCache:
    """Compiles the cells that it watches, or loads what an earlier process compiled.

    Attributes:
        loaded, compiled: graphs so far.
    """

    def __init__(self, run: Run, store: Store) -> None:
        self.run, self.store = run, store
        self.loaded = self.compiled = 0
        self.said: set[str] = set()
        self.trials: dict[object, Trial] = {}

    def close(self, survived: bool) -> None:
        """End the trials of graphs that were called only once."""
        while self.trials:
            self.trials.popitem()[1].end(survived)

    def watch(self, cell: nn.Cell, together: bool = True) -> None:
        """From now on, look here first when MindSpore is about to compile this cell.

        Args:
            cell: may be watched already.
            together: every process compiles it at the same moment.
        """
        from .fingerprint import signature

        if "compile" in vars(cell):
            return
        compile_cell: Callable[..., None] = cell.compile
        known: set[object] = set()

        def compile_once(*columns: Any, **others: Any) -> None:
            try:
                asked = signature(cell, columns)
            except AttributeError:  # an argument that is not a tensor
                return compile_cell(*columns, **others)
            if asked in known or others:
                if trial := self.trials.pop((id(cell), asked), None):
                    trial.end(survived=True)  # the first call is over
                return compile_cell(*columns, **others)
            known.add(asked)
            if trial := self._compile(cell, columns, compile_cell, together):
                self.trials[id(cell), asked] = trial
            return None

        cell.compile = compile_once

    def _compile(
        self, cell: nn.Cell, columns: tuple[Any, ...], compile_cell: Callable[..., None], together: bool
    ) -> Trial | None:
        prepared = self._prepare(cell, columns)
        with tempfile.TemporaryDirectory(prefix="mindloom-graph-") as scratch:
            offered = Path(scratch) / "graph"
            found = prepared is not None and self._take(prepared, offered)
            if together:  # a process that went ahead would wait in the first step for those that still compile
                found = not self.run.world.any(not found)
            placed = prepared.stage.place(offered) if found and prepared is not None else {}
        if prepared is None:
            self.compiled += 1
            compile_cell(*columns)
            return None
        if not found:
            self._say_why(prepared)
        trial = self.store.trial(prepared.key) if found else None
        try:
            with prepared.stage.compiling():
                compile_cell(*columns)
            self._settle(prepared, placed)
        except Exception as error:
            if not found:
                raise
            self._refuse(prepared, f"does not load ({summary(error)})")
            self.compiled += 1
            compile_cell(*columns)
        finally:
            prepared.stage.clear()
        return trial

    def _prepare(self, cell: nn.Cell, columns: tuple[Any, ...]) -> Prepared | None:
        from .fingerprint import UnsureError, fingerprint
        from .stage import stage

        name = type(cell).__name__
        try:
            content, shapes, modules = fingerprint(cell, columns)
            made_of = {**parts(self.run, modules), "cell": name, "model": content, "shapes": shapes}
            return Prepared(stage(), key_of(made_of), made_of)
        except (UnsureError, OSError) as reason:
            self._say(logging.INFO, f"compile cache: not for {name}: {reason}")
            return None

    def _settle(self, prepared: Prepared, placed: dict[Path, int]) -> None:
        """Count the graph, and keep it if it is new."""
        if placed and all(path.exists() and path.stat().st_mtime_ns == since for path, since in placed.items()):
            self.loaded += 1
            return
        if placed:  # MindSpore compiled after all, and has written over it
            self._refuse(prepared, "was refused by MindSpore")
        self.compiled += 1
        files = prepared.stage.written()
        if not files:
            self._say(logging.INFO, f"compile cache: MindSpore wrote no graph of {prepared.name}")
            return
        try:
            self.store.put(prepared.key, files, prepared.made_of)
        except OSError as error:
            reason = error.strerror or error
            self._say(
                logging.WARNING, f"compile cache: nothing is kept: {self.store.root} cannot be written ({reason})"
            )

    def _take(self, prepared: Prepared, offered: Path) -> bool:
        try:
            return self.store.take(prepared.key, offered)
        except DamagedError as damage:
            self._refuse(prepared, f"is damaged ({damage})")
        except OSError as error:
            reason = error.strerror or error
            self._say(logging.WARNING, f"compile cache: {self.store.root} cannot be read ({reason}): compiling")
        return False

    def _refuse(self, prepared: Prepared, why: str) -> None:
        self.store.drop(prepared.key)
        self._say(logging.WARNING, f"compile cache: the graph of {prepared.name} {why}: compiling it anew")

    def _say_why(self, prepared: Prepared) -> None:
        changed = self.store.changed_since(prepared.made_of)
        if changed:
            self._say(logging.INFO, f"compile cache: compiling anew, because of other {', '.join(changed)}")

    def _say(self, level: int, text: str) -> None:
        if text not in self.said:
            self.said.add(text)
            self.run.log.log(level, "%s", text)
