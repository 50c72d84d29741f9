"""Processes that wait for their turn: what is compared is measured a little of each, again and again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


class Waiting:
    """A Python process that answers each line of its input with a line of JSON; it says one at first, too."""

    def __init__(self, *command: str, paths: str = "") -> None:
        found = os.pathsep.join(filter(None, [paths, os.environ.get("PYTHONPATH", "")]))
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"GLOG_v": "3", **os.environ, "PYTHONPATH": found},
        )
        self.told = self.answer()

    def answer(self) -> dict[str, Any]:
        """What it says next."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise SystemExit(f"a side ended with exit code {self.process.wait()}")

    def ask(self, what: object) -> dict[str, Any]:
        """Give it its turn."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        """Let it go."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
