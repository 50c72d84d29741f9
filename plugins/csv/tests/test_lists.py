"""Lists in other forms, and pictures with a caption beside them: what is read, and how mistakes are told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from mindloom import UserError
from mindloom.formats import SampleError
from mindloom.world import World
from mindloom_csv import Csv
from PIL import Image


def opened(path: Path, **settings: str) -> Any:
    plugin = Csv(Csv.Config(**settings))
    plugin.name = "csv"
    return plugin.add_formats()["csv"].open(str(path), World())


def put(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def captions(source: Any) -> dict[str, str]:
    return {sample["id"]: sample["caption"] for sample in map(source.__getitem__, range(len(source)))}


def test_tables_with_tabs_and_json_lines_are_lists_too(tmp_path: Path) -> None:
    put(tmp_path / "a.tsv", 'dir\ttext\n1.jpg\tan owl, asleep\n2.jpg\t"a\ttab"\n')
    put(tmp_path / "b" / "metadata.jsonl", '\ufeff{"file_name": "3.jpg", "text": "größer 猫 \\ud83e\\udd89"}\n\n')
    for name in ("1.jpg", "2.jpg", "b/3.jpg"):
        put(tmp_path / name, b"bytes")
    assert captions(opened(tmp_path)) == {"1.jpg": "an owl, asleep", "2.jpg": "a\ttab", "b/3.jpg": "größer 猫 🦉"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "file_name,text\n1.jpg,a wren\n"),
        ("list.tsv", "text\tfile_name\na wren\t1.jpg\n"),
        ("list.jsonl", '{"text": "a wren", "file_name": "1.jpg"}'),
        ("list.jsonl", '{"dir": "1.jpg", "file_name": "other.jpg", "text": "a wren"}'),
    ],
)
def test_the_configured_column_goes_before_the_usual_one_in_every_list(tmp_path: Path, name: str, text: str) -> None:
    put(tmp_path / "1.jpg", b"bytes")
    assert captions(opened(put(tmp_path / name, text))) == {"1.jpg": "a wren"}


def test_settings_name_the_keys_of_json_lines_too(tmp_path: Path) -> None:
    put(tmp_path / "1.jpg", b"bytes")
    put(tmp_path / "list.jsonl", '{"img": "1.jpg", "long": "a wren", "text": "-"}')
    assert captions(opened(tmp_path, image_column="img", caption_column="long")) == {"1.jpg": "a wren"}


def test_captions_that_are_numbers_are_their_text_and_long_ones_stay_whole(tmp_path: Path) -> None:
    for index in range(4):
        put(tmp_path / f"{index}.jpg", b"bytes")
    values = ["7", "1.50", f'"{"x" * 10_000}"', '""']
    put(tmp_path / "l.jsonl", "".join(f'{{"file_name": "{i}.jpg", "text": {v}}}\n' for i, v in enumerate(values)))
    assert list(captions(opened(tmp_path)).values()) == ["7", "1.50", "x" * 10_000, ""]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"file_name": "a.jpg", "text": "a"', "line 2 is broken JSON .* repair or remove"),
        ("[" * 100_000, "line 2 is broken JSON"),
        ('{"file_name": "a.jpg", "text": NaN}', "line 2 is broken JSON .NaN is not JSON"),
        ('["a.jpg", "a"]', "line 2 is no JSON object: write"),
        ('{"text": "a"}', r"line 2 has no key 'file_name' but 'text': add it or set plugins.csv.image_column"),
        ('{"file_name": "a.jpg"}', r"line 2 has no key 'text' .* set plugins.csv.caption_column"),
        ('{"file_name": "a.jpg", "text": null}', "line 2: 'text' is null: make it text"),
        ('{"file_name": "a.jpg", "text": ["a", "b"]}', "line 2: 'text' is a list: make it text"),
        ('{"file_name": "a.jpg", "text": true}', "line 2: 'text' is true or false"),
        ('{"file_name": " ", "text": "a"}', "line 2 names no picture"),
        ('{"file_name": "a.jpg", "text": "\\ud800"}', "line 2: 'text' holds half of a surrogate pair"),
        (b'{"file_name": "a.jpg", "text": "gr\xf6\xdfer"}', "line 2 is not UTF-8 .* save it as UTF-8"),
    ],
)
def test_what_a_line_lacks_is_told_with_its_place(tmp_path: Path, line: str | bytes, reason: str) -> None:
    raw = line if isinstance(line, bytes) else line.encode()
    file = put(tmp_path / "list.jsonl", b'{"file_name": "0.jpg", "text": "fine"}\n' + raw + b"\n")
    with pytest.raises(UserError, match=reason) as refusal:
        opened(tmp_path)
    assert str(refusal.value).startswith(f"{file}, line 2")
    assert "\n" not in str(refusal.value)
    assert refusal.value.setting == ("" if "_column" not in reason else reason.rpartition(" set ")[2])


def test_a_cell_with_a_tab_too_many_is_told_with_its_place(tmp_path: Path) -> None:
    put(tmp_path / "list.tsv", "dir\ttext\na.jpg\tan owl\tasleep\n")
    with pytest.raises(UserError, match=r'list.tsv, line 2 has 3 cells.*put "quotes" around text that holds tabs'):
        opened(tmp_path)


def test_pictures_without_a_list_have_a_text_each(tmp_path: Path) -> None:
    put(tmp_path / "wren.JPG", b"wren")
    put(tmp_path / "wren.txt", "\ufeffa wren,\nsinging\n")
    put(tmp_path / "more.1" / "owl.x.png", b"owl")
    put(tmp_path / "more.1" / "owl.x.TXT", "an owl 🦉")
    put(tmp_path / "README.txt", "about these pictures")
    put(tmp_path / ".hidden.jpg", b"-")
    assert captions(opened(tmp_path)) == {"wren.JPG": "a wren,\nsinging", "more.1/owl.x.png": "an owl 🦉"}


def test_a_list_anywhere_goes_before_pairs(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg", b"a")
    put(tmp_path / "a.txt", "beside")
    put(tmp_path / "deep" / "list.csv", "dir,text\n../a.jpg,listed\n")
    assert captions(opened(tmp_path)) == {"a.jpg": "listed"}


def test_pairs_with_a_fault_are_broken_samples_with_a_name(tmp_path: Path) -> None:
    for name in ("alone", "fine", "latin"):
        put(tmp_path / f"{name}.jpg", b"bytes")
    put(tmp_path / "fine.txt", "fine")
    put(tmp_path / "latin.txt", b"gr\xf6\xdfer")
    (tmp_path / "odd.jpg").mkdir()
    put(tmp_path / "odd.txt", "x")
    source = opened(tmp_path)
    assert [source.id(index) for index in range(len(source))] == ["alone.jpg", "fine.jpg", "latin.jpg"]
    for index, reason in ((0, "has no caption: write alone.txt"), (2, "caption latin.txt is not UTF-8")):
        with pytest.raises(SampleError, match=reason) as broken:
            source[index]
        assert broken.value.id == source.id(index)
        assert broken.value.where == str(tmp_path / source.id(index))


@pytest.mark.parametrize("path", ["s/{0..3}.tar", "https://example.org/a.csv", "pipe:cat a.csv", "nowhere/*.csv"])
def test_patterns_and_addresses_are_refused(path: str) -> None:
    with pytest.raises(UserError, match="is neither a folder nor a file") as refusal:
        opened(Path(path))
    assert refusal.value.setting == "data.path"


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    put(tmp_path / "list.csv", "dir,text\nmissing.jpg,a\nfolder,b\nnul\0.jpg,c\nlocked.jpg,d\n")
    (tmp_path / "folder").mkdir()
    put(tmp_path / "locked.jpg", b"bytes").chmod(0)
    source = opened(tmp_path)
    reasons = ["No such file", "Is a directory", "null byte", "Permission denied"]
    for index, reason in enumerate(reasons[: 3 if os.geteuid() == 0 else 4]):  # root reads every file
        for read in (source.__getitem__, source.size):
            with pytest.raises(SampleError, match=reason) as broken:
                read(index)
            assert broken.value.id == source.images[index]
            assert broken.value.where == str(tmp_path / source.images[index])


def test_ids_stay_unique_when_a_picture_is_listed_twice(tmp_path: Path) -> None:
    put(tmp_path / "1.jpg", b"bytes")
    put(tmp_path / "list.csv", "dir,text\n1.jpg,a\n./1.jpg,b\n1.jpg,c\n")
    assert captions(opened(tmp_path)) == {"1.jpg": "a", "1.jpg#2": "b", "1.jpg#3": "c"}


def test_the_size_is_that_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "1.jpg", exif=exif)
    put(tmp_path / "2.jpg", "text named .jpg")
    source = opened(put(tmp_path / "list.csv", "dir,text\n1.jpg,a\n2.jpg,b\n"))
    assert source.size(0) == (20, 30)
    with pytest.raises(SampleError, match="not a readable picture") as broken:
        source.size(1)
    assert broken.value.id == "2.jpg"


def test_the_stamp_changes_with_the_picture_and_with_the_caption(tmp_path: Path) -> None:
    put(tmp_path / "1.jpg", b"bytes")
    put(tmp_path / "1.txt", "a")
    first = opened(tmp_path).stamp(0)
    assert opened(tmp_path).stamp(0) == first
    put(tmp_path / "1.txt", "b")
    second = opened(tmp_path).stamp(0)
    put(tmp_path / "1.jpg", b"other bytes")
    assert len({first, second, opened(tmp_path).stamp(0)}) == 3
