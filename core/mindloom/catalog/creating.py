"""``mindloom plugins new``: a complete distribution with one plugin of a kind, tests that pass among it."""

from __future__ import annotations

import argparse
import builtins
import keyword
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from .. import __version__
from ..api import API
from ..discovery import discover
from ..errors import UserError
from ..schema import Config

COMMON = "common"
SUFFIX = ".tmpl"
"""Templates are no Python files: pip compiles what ends in .py, and linters read it."""


@dataclass(frozen=True)
class Kind:
    """What can be made.

    Attributes:
        about: what the plugin does as it is generated; becomes the summary of its distribution.
        points: further entry points of its distribution; ``$name`` is the plugin's.
        try_out: commands that train with it, in the folder of the distribution.
    """

    about: str
    points: str
    try_out: tuple[str, ...]


RESERVED = {found.name for found in fields(Config)} | {
    *("any", "core", "path", "plugin", "recorder", "shelf", "steps", "task"),
}
"""Names that settings, messages, the kit for tests or the imports of a template use for something else."""
TRAIN_TOY = "mindloom train --plugins toy,$name data.path=. max_steps=20"
KINDS = {
    "format": Kind(
        "A dataset format: pictures in one folder for each label",
        "\nmindloom.formats =\n    $name = $name",
        (
            "python tests/draw_$name.py pictures",
            "mindloom train --plugins pictures,$name data.path=pictures max_steps=20",
        ),
    ),
    "logger": Kind("A logger: every record as a line of JSON in the run folder", "", (TRAIN_TOY,)),
    "swap": Kind("A model swap: Dense layers that multiply in float16", "", (f"{TRAIN_TOY} plugins.toy.hidden=2",)),
    "blank": Kind("An observer: tells every few steps how far the run is", "", (TRAIN_TOY,)),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define what ``new`` takes."""
    parser.add_argument("name", metavar="NAME", help="what --plugins will call it, such as pets")
    parser.add_argument("--kind", choices=tuple(KINDS), required=True, help="what the plugin starts as")
    parser.add_argument("--out", metavar="DIR", help="folder of the distribution; mindloom-NAME by default")


def run(arguments: argparse.Namespace) -> int:
    """Make the distribution and say what to do next."""
    check_name(arguments.name, discover())
    out = Path(arguments.out or distribution(arguments.name))
    try:
        out = out.expanduser()
    except RuntimeError as error:
        raise UserError(f"--out {out}: {str(error).rstrip('.')}: write the folder's whole path") from error
    create(arguments.name, arguments.kind, out)
    print(f"{out}: a plugin named {arguments.name}. What to do next:")
    tried = (Template(step).substitute(name=arguments.name) for step in KINDS[arguments.kind].try_out)
    for step in [f"cd {shlex.quote(str(out))}", "pip install -e '.[test]'", "pytest", *tried]:
        print(f"  {step}")
    return 0


def distribution(name: str) -> str:
    """What pip calls the distribution of a plugin."""
    return f"mindloom-{name.replace('_', '-')}"


def check_name(name: str, taken: Mapping[str, object]) -> None:
    """Refuse what cannot be a plugin's name.

    Raises:
        UserError: it is no lower-case identifier, is that of a plugin, or a word or a module of Python's.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        near = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")
        raise UserError(
            f"{name!r} cannot be a plugin's name: write small letters, digits and single underscores, beginning with "
            f"a letter, such as {near.lstrip('_0123456789') or 'pets'!r}"
        )
    if name in taken:
        raise UserError(f"there is a plugin {name!r} already (see: mindloom plugins list): choose another name")
    words = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins)}
    words = {word for word in words if word in (name, name.capitalize())}  # in capitals, it would name the class
    if words or name in sys.stdlib_module_names or name in RESERVED:
        raise UserError(
            f"{name!r} means something to {'mindloom' if name in RESERVED else 'Python'} already: choose another name"
        )


def create(name: str, kind: str, out: Path) -> None:
    """Write the distribution; after an error, nothing of it is left.

    Raises:
        UserError: the folder is there and not empty, or cannot be written.
    """
    texts = render(name, kind)
    with _writing(out):
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise UserError(f"{out} exists and is no empty folder: choose another one with --out DIR")
        made = next((path for path in reversed([out, *out.parents]) if not path.exists()), None)
        try:
            for path, text in texts.items():
                (out / path).parent.mkdir(parents=True, exist_ok=True)
                (out / path).write_text(text, encoding="utf-8")
        except BaseException:
            _undo(out, made)
            raise


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another one with --out DIR") from error


def _undo(out: Path, made: Path | None) -> None:
    """Remove the folder and those made for it, or what is in it if it was there before."""
    for path in [made] if made else [*out.iterdir()]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.exists():
            path.unlink()


def render(name: str, kind: str) -> dict[str, str]:
    """The text of every file of the distribution. What is common goes on where a file of the kind ends: the README."""
    chosen, class_name = KINDS[kind], "".join(part.capitalize() for part in name.split("_"))
    short = class_name.lower() == name  # the kit calls a class by its name, as long as nobody says otherwise
    values = {
        "name": name,
        "Class": class_name,
        "tested": class_name if short else f'{{"{name}": {class_name}}}',
        "several": f"[{class_name}, Shelf]" if short else f'{{"{name}": {class_name}, "shelf": Shelf}}',
        "called": "" if short else f'\n    name = "{name}"',
        "distribution": distribution(name),
        "about": chosen.about,
        "api": str(API),
        "release": ".".join(__version__.split(".")[:2]),
    }
    for key, text in {"points": chosen.points, "try_out": "\n".join(chosen.try_out)}.items():
        values[key] = Template(text).substitute(values)
    home = files(__package__) / "templates"
    texts: dict[str, str] = {}
    for folder in (kind, COMMON):
        for path, template in _walk(home / folder):
            path = path.replace("NAME", name)
            texts[path] = texts.get(path, "") + Template(template).substitute(values)
    return texts


def _walk(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(SUFFIX):
            yield prefix + entry.name.removesuffix(SUFFIX), entry.read_text(encoding="utf-8")
