"""The list of broken samples: complete, without repetition, and with an end to patience."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from mindloom import UserError
from mindloom.data.quarantine import Quarantine

LOG = logging.getLogger("mindloom")


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]


def test_each_sample_is_written_once_with_reason_and_place(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "run", 100, 0.05, 0, LOG)
    quarantine.note("a/1", "no picture", "a.tar: 1.jpg")
    quarantine.note("a/1", "no picture", "a.tar: 1.jpg")
    quarantine.note("中文", "zu kurz 🐦", "")
    assert lines(tmp_path / "run") == [
        {"id": "a/1", "reason": "no picture", "where": "a.tar: 1.jpg", "rank": 0},
        {"id": "中文", "reason": "zu kurz 🐦", "where": "", "rank": 0},
    ]


def test_nothing_broken_leaves_no_file(tmp_path: Path) -> None:
    Quarantine(tmp_path, 100, 0.05, 0, LOG)
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_writes_what_is_new_only_and_does_not_count_what_was(tmp_path: Path) -> None:
    Quarantine(tmp_path, 20, 0.1, 0, LOG).note("one", "bad")
    resumed = Quarantine(tmp_path, 20, 0.1, 0, LOG)
    for name in ("one", "two"):
        resumed.note(name, "bad")
    assert [line["id"] for line in lines(tmp_path)] == ["one", "two"]
    with pytest.raises(UserError, match="3 samples are broken, more than the 2 allowed"):
        resumed.note("three", "bad")


def test_processes_of_one_run_count_together(tmp_path: Path) -> None:
    first, second = (Quarantine(tmp_path, 20, 0.1, rank, LOG) for rank in range(2))
    first.note("one", "bad")
    second.note("two", "bad")
    first.note("two", "bad")
    with pytest.raises(UserError, match=r"the last one three \(bad\), all listed in .*quarantine.jsonl: repair"):
        first.note("three", "bad")


def test_a_torn_line_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "quarantine.jsonl").write_bytes(b'{"id": "one", "reas\n\xff\xfe\n[]\n')
    quarantine = Quarantine(tmp_path, 20, 0.1, 0, LOG)
    quarantine.note("one", "bad")
    assert (tmp_path / "quarantine.jsonl").read_bytes().splitlines()[-1].startswith(b'{"id": "one", "reason": "bad"')


def test_a_folder_that_cannot_be_written_costs_a_warning_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    quarantine = Quarantine(tmp_path / "file", 20, 0.1, 0, LOG)
    quarantine.note("one", "bad")
    quarantine.note("two", "bad")
    assert caplog.text.count("cannot be written") == 1
    assert list(quarantine.reasons) == ["one", "two"]
