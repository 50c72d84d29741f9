"""What ``mindloom plugins new`` says, what it refuses, and that nothing half-written stays behind."""

from __future__ import annotations

import configparser
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from mindloom import UserError, cli
from mindloom.api import API
from mindloom.catalog import creating

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("kind", creating.KINDS)
def test_what_is_made_is_whole_and_clean_in_the_eyes_of_linters(kind: str, tmp_path: Path) -> None:
    assert cli.main(["plugins", "new", "pet_shop", "--kind", kind, "--out", str(tmp_path / "made")]) == 0
    made = tmp_path / "made"
    for part in ("README.md", ".gitignore", "pyproject.toml", "mindloom_pet_shop/py.typed", "tests/test_pet_shop.py"):
        assert (made / part).is_file(), part
    assert not [path for path in made.rglob("*") if path.is_file() and "$" in path.read_text().replace(r"\.1$", "")]
    about = configparser.RawConfigParser()
    about.read(made / "setup.cfg")
    assert about["metadata"]["name"] == "mindloom-pet-shop"
    assert "license" not in about["metadata"]  # the author's to choose
    points = about["options.entry_points"]
    assert points["mindloom.plugins"].strip() == "pet_shop = mindloom_pet_shop:PetShop"
    assert points["mindloom.api"].strip() == f"pet_shop = {API}"
    assert ("mindloom.formats" in points) == (kind == "format")
    for command in (["check"], ["format", "--diff"]):
        linted = [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "ruff.toml"), "."]
        done = subprocess.run(linted, cwd=made, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    typed = [sys.executable, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache" / "made")]
    done = subprocess.run(typed, cwd=made, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "new", "pets", "--kind", "format"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mindloom-pets: a plugin named pets. What to do next:",
        "  cd mindloom-pets",
        "  pip install -e '.[test]'",
        "  pytest",
        "  python tests/draw_pets.py pictures",
        "  mindloom train --plugins pictures,pets data.path=pictures max_steps=20",
    ]
    assert (tmp_path / "mindloom-pets" / "setup.cfg").is_file()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Pets", "'Pets' cannot be a plugin's name: .* such as 'pets'"),
        ("PetShop2", "such as 'pet_shop2'"),
        ("my-pets", "such as 'my_pets'"),
        ("2pets", "such as 'pets'"),
        ("pets_", "such as 'pets'"),
        ("a__b", "such as 'a_b'"),
        ("", "'' cannot be a plugin's name: .* such as 'pets'"),
        ("../pets", "such as 'pets'"),
        ("größe", "cannot be a plugin's name"),
        ("pictures", r"there is a plugin 'pictures' already \(see: mindloom plugins list\)"),
        ("json", "'json' means something to Python already: choose another name"),
        ("import", "'import' means something to Python already"),
        ("match", "'match' means something to Python already"),
        ("none", "'none' means something to Python already"),
        ("plugin", "'plugin' means something to mindloom already"),
        ("data", "'data' means something to mindloom already"),
        ("recorder", "'recorder' means something to mindloom already"),
    ],
)
def test_a_name_that_will_not_do_is_refused_in_a_line(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words) as caught:
        creating.check_name(name, {"pictures": object()})
    assert "\n" not in str(caught.value)


def test_a_refusal_is_one_line_and_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "new", "toy", "--kind", "blank"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("mindloom: error: there is a plugin 'toy' already")
    assert (printed.err.count("\n"), printed.out, list(tmp_path.iterdir())) == (1, "", [])


@pytest.mark.parametrize("out", ["$(x)", "$name", "100%"])
def test_an_odd_folder_is_made_and_quoted(out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "new", "pets", "--kind", "blank", "--out", out]) == 0
    assert f"cd {shlex.quote(out)}" in capsys.readouterr().out
    assert (tmp_path / out / "setup.cfg").is_file()


def test_a_home_that_nobody_has_is_refused_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "new", "pets", "--kind", "blank", "--out", "~nosuchuser/x"]) == 2
    assert capsys.readouterr().err.startswith("mindloom: error: --out ~nosuchuser/x: Could not determine home")


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    for out in (tmp_path / "mine", tmp_path / "mine" / "notes.txt"):
        with pytest.raises(UserError, match="exists and is no empty folder: choose another one with --out DIR"):
            creating.create("pets", "blank", out)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    creating.create("pets", "blank", tmp_path)
    assert (tmp_path / "setup.cfg").is_file()


@pytest.mark.parametrize("there", [True, False])
def test_a_failure_half_way_leaves_nothing_behind(there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "new" / "pets"
    if there:
        out.mkdir(parents=True)
    real = Path.write_text

    def full(path: Path, text: str, **options: str) -> int:
        if path.name == "plugin.py":
            raise OSError(28, "No space left on device")
        return real(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match=r"pets cannot be written \(No space left on device\)"):
        creating.create("pets", "blank", out)
    assert [path.name for path in tmp_path.rglob("*")] == (["new", "pets"] if there else [])


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"pets cannot be written \(Not a directory\)"):
        creating.create("pets", "blank", tmp_path / "file" / "pets")
