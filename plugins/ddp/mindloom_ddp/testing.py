"""A kit for tests: real processes under msrun, with a time limit, and none left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

MSRUN = Path(sys.executable).with_name("msrun")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Launched:
    """Processes under msrun; ``logs`` is the folder of their output."""

    def __init__(self, process: subprocess.Popen[str], logs: Path) -> None:
        self.process, self.logs = process, logs

    def output(self, rank: int) -> str:
        """What one worker has written so far."""
        path = self.logs / f"worker_{rank}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, seconds: float) -> int:
        """Wait for all of them and return msrun's exit code."""
        return self.process.wait(timeout=seconds)

    def until(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        """Wait for something to happen while the processes run.

        Raises:
            AssertionError: it did not, or msrun ended; with all output so far.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"msrun {self.process.poll()}\n{self.output(0)}\n{self.output(1)}")
            time.sleep(0.1)


@contextmanager
def msrun(folder: Path, *command: str, workers: int = 2, options: Sequence[str] = ()) -> Iterator[Launched]:
    """Start ``python command`` as several processes in ``folder``, and end whatever is left of them.

    Args:
        options: options of msrun; those that are missing are added: port, number of workers, logs, join.
    """
    logs = folder / "logs"
    given = {option.partition("=")[0]: option for option in options}
    for option, value in {
        "--worker_num": str(workers), "--local_worker_num": str(workers), "--master_port": str(free_port()),
        "--join": "True", "--log_dir": str(logs),
    }.items():  # fmt: skip
        given.setdefault(option, f"{option}={value}")
    arguments = [sys.executable, str(MSRUN), *given.values(), "python", *command]
    # msrun knows its interpreter by the word "python" only.
    path = os.pathsep.join([str(MSRUN.parent), os.environ.get("PATH", "")])
    with (folder / "msrun.log").open("w") as output:
        # A session of its own, so that a Ctrl-C in pytest reaches pytest alone, which then ends them all.
        process = subprocess.Popen(
            arguments, cwd=folder, stdout=output, stderr=output, text=True, start_new_session=True,
            env={**os.environ, "GLOG_v": "3", "PATH": path},
        )  # fmt: skip
    launched = Launched(process, folder / given["--log_dir"].partition("=")[2])
    try:
        yield launched
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process and everything that it started."""
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        family = [*parent.children(recursive=True), parent]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.send_signal(signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
