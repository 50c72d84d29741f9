"""What ``mindloom data`` says and draws of a data set's faults: each once, and so that it is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mindloom.discovery import discover
from mindloom.survey import cli
from mindloom.survey.check import Tally
from mindloom.survey.plots import OVER, charts
from mindloom.survey.reading import Good

from .data_sets import jpeg, shards, tar

pytestmark = pytest.mark.together


class Words:
    """Counts words, of which five are read."""

    limit = 5

    def __call__(self, caption: str) -> int:
        return len(caption.split())


@pytest.fixture(autouse=True)
def _without_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = {name: replace(found, measures=()) for name, found in discover().items()}
    monkeypatch.setattr(cli, "discover", lambda: plain)


@pytest.mark.parametrize("format", [[], ["--format", "wids"]])
@pytest.mark.parametrize("action", [["check"], ["convert", "new", "--to", "webdataset"]])
def test_the_damage_of_a_shard_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], action: list[str],
    format: list[str],
) -> None:  # fmt: skip
    good = tar({f"{i}.{kind}": data for i in range(8) for kind, data in (("jpg", jpeg(i)), ("txt", b"caption"))})
    folder = shards(tmp_path / "set", good[: len(good) // 2 + 100])
    assert cli.main([action[0], str(folder), *action[1:], *format]) == 1
    told = "\n".join([*caplog.messages, *capsys.readouterr()])
    assert told.count("000000.tar is damaged after 4 samples") == 1
    assert "warning: " in told
    assert "counting the samples of 1 shards" in caplog.messages, "only warnings wait for the report"


def test_damage_is_told_when_nothing_can_be_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert cli.main(["check", str(shards(tmp_path / "set", tar({"a.jpg": jpeg(0)})[:700]))]) == 2
    damage = [text.partition(" is damaged after ")[2] for text in caplog.messages if "damaged" in text]
    assert damage == ["0 samples: it is cut off within a.jpg"]


@pytest.mark.parametrize("longest", [4, 400])
def test_a_single_very_long_caption_has_a_red_bar(longest: int) -> None:
    tally = Tally(41, {"words": Words()})
    for number, words in enumerate([*(number % 4 for number in range(40)), longest]):
        sample = {"image": b"", "caption": "word " * words}
        tally.add(Good(sample, str(number), (2000, 2000), bytes([number])))
    drawn = np.asarray(charts(tally.report(resolution=1024, step=64, budget=1)))
    assert (drawn == OVER).all(axis=-1).any() == (longest > Words.limit)
