"""One event file, written and flushed in the calling thread.

tensorboardX's ``SummaryWriter`` hands events to a thread through a pipe, and its ``flush`` does not wait for that
thread: a killed process loses what it believes to have flushed. Its building blocks do the same without the detour.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog


class EventFile:
    """A new event file in ``folder``.

    Readers forget what earlier files of the folder say about the steps ``purge_from`` and later: a session log with
    status START does that (``EventAccumulator`` in tensorboard/backend/event_processing, as for
    ``SummaryWriter(purge_step=...)``).
    """

    def __init__(self, folder: Path, purge_from: int) -> None:
        # Readers take files in the order of their names, which begin with the second they were made in.
        self.writer = EventsWriter(str(folder / "events"), f".{purge_from:08d}.{os.getpid()}")
        self.writer.write_event(
            Event(wall_time=time.time(), step=purge_from, session_log=SessionLog(status=SessionLog.START))
        )

    def _add(self, content: summary.Summary, step: int) -> None:
        self.writer.write_event(Event(wall_time=time.time(), step=step, summary=content))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add one point of a curve (stored as float32)."""
        self._add(summary.scalar(tag, value), step)

    def image(self, tag: str, picture: np.ndarray, step: int) -> None:
        """Add a uint8 ``[height, width, 3]`` picture."""
        self._add(summary.image(tag, picture, dataformats="HWC"), step)

    def text(self, tag: str, markdown: str, step: int) -> None:
        """Add a text; its tag becomes ``<tag>/text_summary``."""
        self._add(summary.text(tag, markdown), step)

    def flush(self) -> None:
        """Return once everything is on disk."""
        self.writer.flush()

    def close(self) -> None:
        """Flush and close."""
        self.writer.close()


def holds_events(folder: Path) -> bool:
    """Whether an event file is there already."""
    return any(folder.glob("*tfevents*"))
