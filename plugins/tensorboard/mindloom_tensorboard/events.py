"""One event file, written in the calling thread.

tensorboardX's ``SummaryWriter`` hands events to a thread through a pipe, and its ``flush`` does not wait for that
thread: a killed process loses what it believes to have flushed. Its ``EventsWriter`` waits for the disk at each flush,
for milliseconds. What they are built of does without both.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter


class Records(RecordWriter):  # type: ignore[misc]
    """A file of records that can be handed to the system, which keeps them when this process is killed."""

    def hand_over(self) -> None:
        """Do not wait for the disk, as ``flush`` does."""
        self._writer.flush()


class EventFile:
    """A new event file in ``folder``.

    Readers forget what earlier files of the folder say about the steps ``purge_from`` and later: a session log with
    status START does that (``EventAccumulator`` in tensorboard/backend/event_processing, as for
    ``SummaryWriter(purge_step=...)``).
    """

    def __init__(self, folder: Path, purge_from: int) -> None:
        # Readers take files in the order of their names, which begin with the second they were made in.
        second, host = int(time.time()), socket.gethostname()
        self.records = Records(str(folder / f"events.out.tfevents.{second}.{host}.{purge_from:08d}.{os.getpid()}"))
        self.tags: list[str] = []
        self.points = Event()
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=purge_from, session_log=SessionLog(status=SessionLog.START)))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self.records.write(event.SerializeToString())

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add one point to each curve (stored as float32)."""
        if [*values] != self.tags:  # making messages takes longer than the rest, and records seldom differ in tags
            self.tags = [*values]
            self.points = Event(summary=Summary(value=[Summary.Value(tag=tag) for tag in self.tags]))
        for point, value in zip(self.points.summary.value, values.values(), strict=True):
            point.simple_value = float(value)
        self.points.step = step
        self._write(self.points)

    def image(self, tag: str, picture: np.ndarray, step: int) -> None:
        """Add a uint8 ``[height, width, 3]`` picture."""
        self._write(Event(step=step, summary=summary.image(tag, picture, dataformats="HWC")))

    def text(self, tag: str, markdown: str, step: int) -> None:
        """Add a text; its tag becomes ``<tag>/text_summary``."""
        self._write(Event(step=step, summary=summary.text(tag, markdown)))

    def flush(self) -> None:
        """Return once nothing is lost when this process is killed."""
        self.records.hand_over()

    def close(self) -> None:
        """Close once everything is on disk."""
        self.records.flush()
        self.records.close()


def holds_events(folder: Path) -> bool:
    """Whether an event file is there already."""
    return any(folder.glob("*tfevents*"))
