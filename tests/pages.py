"""Reading guides as programs: their code blocks as files, their shell blocks as calls of the command line."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OURS = re.compile(r"(?:python train\.py|mindloom) ")


@dataclass(frozen=True)
class Guide:
    """A Markdown page.

    Attributes:
        files: name -> text of the code blocks that begin with a comment with a file's name.
        commands: arguments of ``mindloom`` of the shell blocks' lines, in order.
    """

    files: dict[str, str]
    commands: list[list[str]]


def blocks(path: Path) -> list[tuple[str, str]]:
    """Language and text of every fenced block."""
    return BLOCK.findall(path.read_text(encoding="utf-8"))


def calls(shell: str) -> list[list[str]]:
    """What a shell block asks of the program, whichever way it is called; lines with other programs are left out."""
    found = []
    for line in shell.replace("\\\n", " ").splitlines():
        ours = OURS.search(line)
        if ours:
            words = shlex.split(line[ours.start() :], comments=True)
            found.append(["train", *words[2:]] if words[0] == "python" else words[1:])
    return found


def read(path: Path) -> Guide:
    """Read a page."""
    files: dict[str, str] = {}
    commands: list[list[str]] = []
    for language, text in blocks(path):
        name = re.match(r"# (\w+\.py)\b", text)
        if language == "python" and name:
            files[name[1]] = text
        if language == "shell":
            commands += calls(text)
    return Guide(files, commands)


def pages() -> list[Path]:
    """Every Markdown page that people read."""
    return [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("plugins/*/README.md"))]


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return BLOCK.sub("", path.read_text(encoding="utf-8"))


def spans(path: Path) -> list[str]:
    """The inline code of a page."""
    return re.findall(r"`([^`\n]+)`", prose(path))


def anchors(path: Path) -> set[str]:
    """What links may point to within a page, by the rule of code hosts."""
    titles = re.findall(r"(?m)^#+ (.+)$", prose(path))
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def tables(path: Path) -> list[list[list[str]]]:
    """The tables of a page: rows of cells, the head first."""
    found = re.findall(r"(?m)(?:^\|.*\|\n)+", prose(path) + "\n")
    rows = [[re.split(r"(?<!\\)\|", line.strip("|")) for line in table.splitlines()] for table in found]
    return [[[cell.strip() for cell in row] for row in [table[0], *table[2:]]] for table in rows]
