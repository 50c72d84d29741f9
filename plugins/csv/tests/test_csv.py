"""Samples that CSV files list: where they are looked for, what is read, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom import UserError, hookimpl
from mindloom.testing import Toy, fit
from mindloom.world import World
from mindloom_csv import Csv
from PIL import Image


def opened(path: Path, **settings: str) -> Any:
    plugin = Csv(Csv.Config(**settings))
    plugin.name = "csv"
    return plugin.add_formats()["csv"].open(str(path), World())


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def test_a_folder_and_its_sub_folders_are_listed_by_name(tmp_path: Path) -> None:
    write(tmp_path / "b.csv", "dir,text\nlast.jpg,third\n")
    write(tmp_path / "a.CSV", "dir,text\nx/1.jpg,first\n./2.jpg,second\n")
    write(tmp_path / "deep" / "er" / "list.csv", f"dir,text\npic.jpg,fourth\n../up.jpg,fifth\n{tmp_path}/2.jpg,sixth\n")
    write(tmp_path / "._a.csv", "\0\0binary")
    (tmp_path / "deep" / "circle").symlink_to(tmp_path)
    for name in ("x/1.jpg", "2.jpg", "last.jpg", "deep/er/pic.jpg", "deep/up.jpg"):
        write(tmp_path / name, f"bytes of {name}")
    samples = [opened(tmp_path)[index] for index in range(len(opened(tmp_path)))]
    assert [sample["caption"] for sample in samples] == ["first", "second", "third", "fourth", "fifth", "sixth"]
    assert [sample["id"] for sample in samples] == [
        "x/1.jpg", "2.jpg", "last.jpg", "deep/er/pic.jpg", "deep/up.jpg", f"{tmp_path}/2.jpg",
    ]  # fmt: skip
    assert samples[0]["image"] == b"bytes of x/1.jpg"


def test_one_file_is_enough_and_columns_have_any_name_and_order(tmp_path: Path) -> None:
    file = write(tmp_path / "list.csv", "caption,id,file_name\na wren,7,wren.jpg\n")
    write(tmp_path / "other.csv", "not looked at")
    write(tmp_path / "wren.jpg", "w")
    source = opened(file, image_column="file_name", caption_column="caption")
    assert len(source) == 1
    assert source[0] == {"image": b"w", "caption": "a wren", "id": "wren.jpg", "where": str(tmp_path / "wren.jpg")}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_captions_arrive_whole(tmp_path: Path, encoding: str) -> None:
    text = 'dir, text\r\n\r\na.jpg, "an owl, ""asleep""\nat noon"\r\n , \r\nb.jpg,größer 猫,\r\nc.jpg\r\n'
    source = opened(write(tmp_path / "list.csv", text, encoding))
    assert source.captions == ['an owl, "asleep"\nat noon', "größer 猫", ""]
    assert source.images == ["a.jpg", "b.jpg", "c.jpg"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dirs,text\n", r"has no column 'dir', its first line is 'dirs,text' \(did you mean 'dirs'\?\).*image_column"),
        ("dir,Text\n", r"has no column 'text'.*did you mean 'Text'.*set plugins.csv.caption_column"),
        ("wren.jpg,a wren\n", "has no column 'dir', its first line is 'wren.jpg,a wren'"),
        ("", "has no column 'dir', it is empty"),
        ("dir,text\na.jpg,a\n,b\n", "line 3 has no 'dir'"),
        ("dir,text\na.jpg,an owl, asleep\n", 'line 2 has 3 cells, the first line 2: put "quotes" around'),
        ('dir,text\na.jpg,"an owl\nb.jpg,a wren\n', "line 3: unexpected end of data: check the quotes"),
    ],
)
def test_what_would_damage_captions_is_refused_with_its_place(tmp_path: Path, text: str, reason: str) -> None:
    file = write(tmp_path / "list.csv", text)
    with pytest.raises(UserError, match=reason) as refusal:
        opened(tmp_path)
    assert str(file) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "list.csv", "dir,text\na.jpg,größer\n", "latin-1")
    with pytest.raises(UserError, match=r"list.csv is not UTF-8 .* at byte 17\): save it as UTF-8"):
        opened(tmp_path)


def test_a_folder_without_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \*.csv file.*header line dir,text"):
        opened(tmp_path)


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    write(tmp_path / "list.csv", "dir,text\na.jpg,a\n")
    code = (
        "import sys; from pathlib import Path; from mindloom_csv import Csv; from mindloom.world import World;"
        f"Csv().open(Path({str(tmp_path)!r}), World());"
        "print([name for name in ('mindspore', 'PIL', 'numpy') if name in sys.modules])"
    )
    path = ":".join(sys.path)
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


class Brightness(Toy):
    """The toy task on pictures: inputs are their mean colour and a constant."""

    @dataclass
    class Config(Toy.Config):
        """As the toy's."""

    @hookimpl
    def make_task(self) -> Any:
        from mindloom.testing import ToyTask

        class Task(ToyTask):
            def transform(self, sample: Any, draw: Any) -> dict[str, np.ndarray]:
                colour = sample["image"].pixels().mean(axis=(0, 1)) / 255
                return {
                    "inputs": np.append(colour, 1).astype(np.float32),
                    "targets": np.array([len(sample["caption"])], np.float32),
                }

        return Task(4)


def pictures(folder: Path, missing: int) -> Path:
    lines = ["dir,text"]
    for index in range(8):
        lines.append(f"{index}.png,{'a' * index}")
        if index >= missing:
            Image.new("RGB", (4, 4), (30 * index, 0, 0)).save(folder / f"{index}.png")
    write(folder / "list.csv", "\n".join(lines))
    return folder


def run(folder: Path, **data: Any) -> Any:
    plugins = {"toy": Brightness, "csv": Csv}
    return fit(folder, plugins, steps=8, data={"path": str(folder), "format": "csv", "workers": 1, **data})


def test_a_run_skips_and_counts_missing_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = pictures(tmp_path, missing=1)
    (folder / "7.png").write_bytes((folder / "7.png").read_bytes()[:40])
    fitted = run(folder, max_broken=0.25)
    assert fitted.exit_code == 0
    warnings = [record.getMessage() for record in caplog.records if "skipped broken sample" in record.getMessage()]
    assert len(warnings) == 2
    assert any("0.png" in warning for warning in warnings)
    assert any("7.png" in warning for warning in warnings)


def test_too_many_missing_images_end_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"3 samples are broken, more than the \d+ allowed.*raise data.max_broken"):
        run(pictures(tmp_path, missing=3), max_broken=0.25)
