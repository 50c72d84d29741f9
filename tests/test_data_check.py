"""``mindloom data check``: what it finds, whatever the format, and that nothing ends in a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom.discovery import discover
from mindloom.survey import cli, progress
from mindloom.survey.check import histogram, ratio_report
from PIL import Image

from .data_sets import CHINESE, STREAM, bomb, jpeg, listed, shards, sound, tar

pytestmark = pytest.mark.together

ROOT = Path(__file__).parents[1]
Check = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Check a data set in this process, without tokens; return exit code, report and what was written to stderr."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.cwd() / "cache"))
    plain = {name: replace(found, measures=()) for name, found in discover().items()}
    monkeypatch.setattr(cli, "discover", lambda: plain)

    def run(*argv: object) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()
        try:
            code = cli.main(["check", *map(str, argv), "--json", "--resolution", "64"])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, json.loads(out) if out else {}, err

    return run


def test_a_sound_data_set_is_reported_and_drawn(check: Check, tmp_path: Path) -> None:
    code, report, _ = check(sound(tmp_path / "set"))
    assert code == 0
    assert report["samples"]["checked"] == report["samples"]["usable"] == report["announced"] == 6
    assert report["sizes"]["width"] == {"min": 40, "median": 52.0, "max": 64}
    assert report["sizes"]["shorter_side_below"] == {"64": 6, "512": 6}
    counts = {entry["ratio"]: entry["samples"] for entry in report["aspect_ratios"] if entry["samples"]}
    assert counts == {"about 1:1": 3, "2:1 and above": 3}
    assert report["captions"]["characters"]["max"] == len("picture number 0")
    assert json.loads(Path("data-check/report.json").read_text()) == report
    sheet, plots = (np.asarray(Image.open(f"data-check/{name}.png")) for name in ("grid", "plots"))
    assert sheet.std() > 20
    assert plots.shape[0] > 500


def test_buckets_are_suggested_for_the_area_that_is_trained_on(check: Check, tmp_path: Path) -> None:
    buckets = check(sound(tmp_path / "set"), "data.bucket_step=16", "data.buckets=2")[1]["buckets"]
    assert [(shape["width"], shape["height"], shape["samples"]) for shape in buckets["shapes"]] == [
        (64, 64, 3), (80, 48, 3)
    ]  # fmt: skip
    assert 0 < buckets["cropped"] < buckets["cropped_by_one_shape"]


def test_every_way_of_being_broken_is_listed_with_its_reason(check: Check, tmp_path: Path) -> None:
    whole = jpeg(1, 200, 200)
    folder = listed(tmp_path / "set", [
        ("good.jpg", jpeg(0), "good"), ("cut.jpg", whole[: len(whole) // 2], "cut"), ("zero.jpg", b"", "no bytes"),
        ("text.jpg", b"hello, this is no picture", "text"), ("bomb.png", bomb(), "bomb"), ("gone.jpg", None, "gone"),
    ])  # fmt: skip
    code, report, err = check(folder)
    assert code == 1
    assert report["samples"] | {"bytes": 0} == {"checked": 6, "usable": 1, "broken": 5, "bytes": 0}
    reasons = {entry["id"]: entry["reason"] for entry in report["broken"]}
    assert set(reasons) == {"cut.jpg", "zero.jpg", "text.jpg", "bomb.png", "gone.jpg"}
    assert "truncated" in reasons["cut.jpg"]
    assert "not a readable picture" in reasons["text.jpg"]
    assert "No such file" in reasons["gone.jpg"]
    assert all(Path(entry["where"]).parent == folder for entry in report["broken"])
    assert err.splitlines() == ["written: data-check/report.json, data-check/grid.png, data-check/plots.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_broken(check: Check, tmp_path: Path) -> None:
    folder = sound(tmp_path / "set")
    (folder / "000.jpg").chmod(0)
    code, report, _ = check(folder)
    assert (code, report["samples"]["broken"]) == (1, 1)


def test_any_caption_is_a_caption(check: Check, tmp_path: Path) -> None:
    captions = ["", "42", "x" * 10_000, "🦉 owl 🌲", CHINESE, "a\tb", "\u202e reversed", "\x1b[31m red"]
    rows = [(f"{number}.jpg", jpeg(number), caption) for number, caption in enumerate(captions)]
    code, report, _ = check(listed(tmp_path / "set", rows))
    assert code == 0
    assert report["captions"]["empty"] == 1
    assert report["captions"]["characters"]["max"] == 10_000
    assert cli.main(["check", str(tmp_path / "set")]) == 0


def test_the_text_holds_nothing_that_steers_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed(tmp_path / "set", [("a\x1b[31m.jpg", None, "x"), ("b.jpg", jpeg(0), "y")])
    assert cli.main(["check", str(tmp_path / "set"), "--plugins", "no:sdxl"]) == 1
    out = capsys.readouterr().out
    assert "broken samples: 1" in out
    assert "\x1b" not in out


def test_duplicates_are_found_by_bytes(check: Check, tmp_path: Path) -> None:
    rows = [("a.jpg", jpeg(0), "a"), ("b.jpg", jpeg(1), "b"), ("c.jpg", jpeg(0), "c"), ("d.jpg", jpeg(0), "d")]
    duplicates = check(listed(tmp_path / "set", rows))[1]["duplicates"]
    assert duplicates["pictures"] == [["a.jpg", "c.jpg", "d.jpg"]]
    assert (duplicates["same_picture"], duplicates["same_id"]) == (2, 0)


def test_a_limit_looks_at_the_first_samples_only(check: Check, tmp_path: Path) -> None:
    report = check(sound(tmp_path / "set"), "--limit", 4)[1]
    assert (report["announced"], report["samples"]["checked"]) == (6, 4)


def odd_shard() -> bytes:
    picture = jpeg(0)
    return tar([
        ("a.jpg", picture), ("a.json", b'{"text": "fine"}'), ("b.jpg", picture), ("b.json", b"{}"),
        ("c.jpg", picture), ("c.json", b'{"text": '), ("d.jpg", picture), ("e.txt", b"no picture"),
        ("../f.jpg", picture), ("../f.txt", b"leads out"), ("a.jpg", picture), ("a.json", b'{"text": "again"}'),
        ("g.jpg", picture), ("g.txt", b"\xff\xfe"), ("h.jpg", picture), ("h.json", b'{"text": "\\ud83d"}'),
    ])  # fmt: skip


@pytest.mark.parametrize("format", ["wids", "webdataset"])
def test_odd_samples_of_shards_are_listed(check: Check, tmp_path: Path, format: str) -> None:
    code, report, _ = check(shards(tmp_path / "set", odd_shard()), "--format", format)
    assert code == 1
    assert report["samples"]["usable"] + report["samples"]["broken"] == report["announced"]
    assert {entry["id"].rpartition("/")[2] for entry in report["broken"]} >= {"b", "c", "d", "e", "f", "g", "h"}
    assert all(entry["reason"] for entry in report["broken"])


@pytest.mark.parametrize("format", ["wids", "webdataset"])
@pytest.mark.parametrize("damage", ["cut", "cut between members", "header", "no tar", "empty", "zeros"])
def test_damaged_shards_are_told_in_a_line(check: Check, tmp_path: Path, format: str, damage: str) -> None:
    good = tar({f"{i}.{kind}": data for i in range(8) for kind, data in (("jpg", jpeg(i)), ("txt", b"caption"))})
    half = len(good) // 2
    header = good.index(b"4.jpg\0")
    data = {
        "cut": good[: half + 100], "cut between members": good[:header], "no tar": b"this is no tar" * 200,
        "header": good[:header] + b"\xff" * 80 + good[header + 80 :], "empty": b"", "zeros": bytes(10240),
    }[damage]  # fmt: skip
    code, report, err = check(shards(tmp_path / "set", data), "--format", format)
    if damage in ("no tar", "empty", "zeros"):
        assert code == 2
        assert err.splitlines()[-1].startswith("mindloom: error: ")
    else:
        assert report["samples"]["usable"] >= 3
        assert damage == "cut between members" or (code == 1 and (report["warnings"] or report["broken"]))


def test_the_format_is_found_by_itself_and_indexed_ones_win(check: Check, tmp_path: Path) -> None:
    folder = shards(tmp_path / "set", tar({"a.jpg": jpeg(0), "a.json": b'{"text": "one", "other": "and two"}'}))
    assert check(folder)[1]["format"] == "wids"
    assert check(folder, "--plugins", "no:wids")[1]["format"] == "webdataset"
    # A setting says which one is meant: it would be lost with another.
    report = check(folder, "plugins.webdataset.caption_key=other")[1]
    assert (report["format"], report["captions"]["characters"]["max"]) == ("webdataset", 7)
    assert check(folder / "000000.tar")[1]["announced"] == check(f"{folder}/{{000000..000000}}.tar")[1]["announced"]


def test_a_format_in_a_file_is_checked_and_a_stream_may_fail_in_any_way(check: Check, tmp_path: Path) -> None:
    Path("named.py").write_text(STREAM)
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("a", "bad", "b"):
        (folder / f"{name}.jpg").write_bytes(jpeg(ord(name[0])))
    code, report, _ = check(folder, "--plugins", "./named.py")
    assert (code, report["format"], report["samples"]["usable"]) == (1, "named", 2)
    assert report["broken"] == [{"id": "bad", "reason": "a bad one", "where": str(folder / "bad.jpg")}]
    Path("csv.py").write_text(STREAM)  # what is typed as a file wins over the installed plugin of that name
    assert check(folder, "--plugins", "./csv.py")[1]["samples"]["usable"] == 2
    (folder / "stop.jpg").write_bytes(b"")
    assert "1 of 4 samples are missing" in check(folder, "--plugins", "./named.py")[1]["broken"][1]["reason"]
    (folder / "fail.jpg").write_bytes(b"")
    reason = check(folder, "--plugins", "./named.py")[1]["broken"][1]["reason"]
    assert reason == "reading fails here, with 2 of 5 samples to come: the disk is gone"


def test_two_formats_that_fit_must_be_told_apart(check: Check, tmp_path: Path) -> None:
    Path("named.py").write_text(
        STREAM.replace("def read(", "def __getitem__(self, index):\n        raise KeyError\n\n    def read(")
    )
    folder = sound(tmp_path / "set")
    code, _, err = check(folder, "--plugins", "csv,./named.py")
    assert code == 2
    assert "fits several formats: choose one with --format csv or named" in err
    assert check(folder, "--plugins", "./named.py")[1]["format"] == "named"
    assert check(folder, "--plugins", "./named.py", "--format", "csv")[1]["format"] == "csv"


@pytest.mark.parametrize(("argv", "words"), [
    (["none"], "there is no data at none: check the path"),
    (["nothing"], "no format fits nothing (csv: "),
    (["set", "--format", "cvs"], "there is no dataset format 'cvs': did you mean 'csv'?"),
    (["set", "--format", "wids"], "set holds no *.tar file"),
    (["set", "--plugins", "nothing"], "there is no plugin 'nothing'"),
    (["set", "plugins.csv.caption_colum=x"], "there is no setting plugins.csv.caption_colum: did you mean 'caption_"),
    (["set", "data.decoder=eyes"], "data.decoder must be one of pillow, vips, not 'eyes' (data.decoder: command line)"),
    (["set", "--limit", "0"], "argument --limit: must be a whole number above 0, not '0'"),
    (["set", "--out", "set/report"], "set/report lies in set, where formats look for samples: choose another --out"),
    (["set", "--out", "file/out"], "file/out cannot be written: Not a directory: choose another folder with --out"),
])  # fmt: skip
def test_wrong_use_is_one_line(check: Check, tmp_path: Path, argv: list[str], words: str) -> None:
    sound(tmp_path / "set", 2)
    Path("nothing").mkdir()
    Path("file").write_text("")
    code, _, err = check(*argv)
    assert code == 2
    assert err.splitlines()[-1].startswith(f"mindloom: error: {words}")


def test_pictures_of_an_earlier_check_do_not_stay_beside_a_report_without_any(check: Check, tmp_path: Path) -> None:
    check(sound(tmp_path / "set"))
    code, report, _ = check(listed(tmp_path / "gone", [("a.jpg", None, "a")]))
    assert (code, report["samples"]["usable"]) == (1, 0)
    assert {path.name for path in Path("data-check").iterdir()} == {"report.json"}


def test_progress_is_told_in_lines(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SLOW", 0.0)
    assert "checked: 3 of 6 (50 %), " in check(sound(tmp_path / "set"))[2]


def test_outliers_do_not_press_a_histogram_together() -> None:
    bins = histogram([*range(100), 10_000])
    assert [entry["samples"] for entry in bins] == [10] * 10 + [1]
    assert bins[-1] == {"from": 100, "to": 10_001, "samples": 1}
    # A limit parts them, so that what lies above it has bins, and bars, of its own.
    assert histogram([*range(100), 10_000], part=78)[7:9] == [
        {"from": 70, "to": 78, "samples": 8}, {"from": 78, "to": 80, "samples": 2}
    ]  # fmt: skip
    assert histogram([*range(20), 402], part=78)[-2:] == [
        {"from": 20, "to": 78, "samples": 0}, {"from": 78, "to": 403, "samples": 1}
    ]  # fmt: skip
    assert histogram(range(20), part=78) == histogram(range(20))
    assert histogram([7]) == [{"from": 7, "to": 8, "samples": 1}]
    assert histogram([]) == []


def test_classes_of_aspect_ratios_hold_everything() -> None:
    sizes = np.array([[1, 10], [10, 20], [30, 40], [100, 100], [105, 100], [40, 30], [1000, 10]])
    counts = {entry["ratio"]: entry["samples"] for entry in ratio_report(sizes)}
    assert counts["below 1:2"] == 1
    assert counts["about 1:1"] == 2
    assert counts["2:1 and above"] == 1
    assert sum(counts.values()) == len(sizes)


def test_a_check_counts_tokens_and_does_not_import_mindspore(tmp_path: Path) -> None:
    rows = [("a.jpg", jpeg(0), "a red disc on a light background"), ("b.jpg", jpeg(1), "tree " * 90)]
    listed(tmp_path / "set", rows)
    code = (
        "import sys\nfrom mindloom.survey.cli import main\n"
        f"code = main(['check', {str(tmp_path / 'set')!r}])\nprint(code, 'mindspore' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "core")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines()[-1] == "0 False", done.stderr
    report = json.loads(Path("data-check/report.json").read_text())
    if report["notes"]:
        pytest.skip(report["notes"][0])
    assert report["captions"]["tokens"] | {"histogram": []} == {
        "min": 9, "median": 50.5, "max": 92, "limit": 77, "over_limit": 1, "histogram": []
    }  # fmt: skip
