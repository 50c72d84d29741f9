"""What of a run goes into the event file, and when."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mindloom import Plugin, UserError, hookimpl
from mindloom.schema import setting
from omegaconf import OmegaConf

if TYPE_CHECKING:
    from mindloom.records import Record
    from mindloom.run import Run
    from omegaconf import DictConfig

    from .events import EventFile


class Tensorboard(Plugin):
    """Write scalars, texts and pictures as TensorBoard event files."""

    @dataclass
    class Config:
        folder: str = setting("tensorboard", "where the event files go, below the run folder")

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.events: EventFile | None = None

    @hookimpl
    def on_configure(self, cfg: DictConfig) -> None:
        """Refuse early if the package that writes event files is missing, without importing it."""
        if importlib.util.find_spec("tensorboardX") is None:
            raise UserError(f"plugin {self.name!r} needs the package 'tensorboardX': pip install tensorboardX")

    @hookimpl
    def on_train_start(self, run: Run) -> None:
        """Open the event file, and put the config first."""
        if not run.world.is_main:
            return
        # Not at the top: protobuf, which this loads, must be loaded by mindspore first, which picks the implementation
        # that its own generated code works with.
        from .events import EventFile, holds_events

        folder = run.path / self.cfg.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            config_is_there = run.step > 0 and holds_events(folder)
            # What was logged at the step resumed from stays; a fresh run withdraws even what step 0 has.
            self.events = EventFile(folder, purge_from=run.step + 1 if run.step else 0)
        except OSError as error:
            raise UserError(
                f"event files cannot be written to {folder} ({error.strerror}): choose another folder",
                setting=f"plugins.{self.name}.folder",
            ) from error
        if not config_is_there:
            self.events.text("config", f"```yaml\n{OmegaConf.to_yaml(run.cfg)}```", run.step)
            self.events.flush()

    @hookimpl
    def on_log(self, record: Record) -> None:
        """Write the record, and flush: a killed run keeps its curves."""
        if self.events is None:
            return
        if len(record):
            self.events.scalars(record, record.step)
        for tag, picture in record.images.items():
            self.events.image(tag, picture, record.step)
        for tag, markdown in record.texts.items():
            self.events.text(tag, markdown, record.step)
        self.events.flush()

    def close(self) -> None:
        if self.events is not None:
            self.events.close()
            self.events = None
