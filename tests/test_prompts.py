"""Files of prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
from mindloom import UserError
from mindloom.prompts import read_prompts


def test_there_is_one_a_line_without_comments_and_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeff# what to draw\n\n a disc # red \r\n\t# not this\nein grüner Stern", encoding="utf-8")
    assert read_prompts(file) == ["a disc # red", "ein grüner Stern"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"# only\n\n", "holds no prompts"),
        (b"gr\xfcn", "no text in UTF-8"),
        (None, "\\(No such file.*\\): give a text file with"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "prompts.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_prompts(file, "plugins.x.prompts_file")
    assert caught.value.setting == "plugins.x.prompts_file"
