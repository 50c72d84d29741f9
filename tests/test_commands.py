"""Sub-commands: the core's own, those that plugins bring, and that listing them imports nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mindloom import cli, discovery
from mindloom.discovery import Found, discover

ROOT = Path(__file__).parents[1]
SOURCE = """
from mindloom import Plugin, UserError
class It(Plugin): pass
def greet(argv):
    if argv == ["wrong"]:
        raise UserError("greet wants a name: give one")
    if argv == ["broken"]:
        raise RuntimeError("no")
    print("hello", *argv)
    return 3
number = 5
"""
Offer = Callable[..., Found]


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Put a plugin that declares something into a checkout of its own."""
    monkeypatch.setattr(discovery, "CHECKOUT", tmp_path / "checkout")

    def make(name: str, groups: str, source: str = SOURCE) -> Found:
        home = tmp_path / "checkout" / name
        home.mkdir(parents=True)
        (home / "setup.cfg").write_text(
            f"[metadata]\nname = mindloom-{name}\nversion = 1\ndescription = d\n\n"
            f"[options.entry_points]\nmindloom.plugins =\n    {name} = mindloom_{name}:It\n{groups}"
        )
        (home / f"mindloom_{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, f"mindloom_{name}", raising=False)
        return discover()[name]

    return make


def greeting(name: str, command: str = "greet", function: str = "greet") -> str:
    return f"mindloom.commands =\n    {command} = mindloom_{name}:{function}\n"


def test_a_plugin_brings_a_command_that_gets_what_stands_behind_its_name(
    offer: Offer, capsys: pytest.CaptureFixture[str]
) -> None:
    offer("polite", greeting("polite"))
    assert cli.main(["greet", "--to", "you"]) == 3
    assert capsys.readouterr().out == "hello --to you\n"


@pytest.mark.parametrize(("word", "code", "line"), [
    ("wrong", 2, "mindloom: error: greet wants a name: give one"),
    ("broken", 1, "mindloom: error: plugin 'polite' failed in the command greet: RuntimeError: no "
     "(checkout/polite/mindloom_polite.py, line 8)"),
])  # fmt: skip
def test_errors_of_a_plugins_command_are_shown_like_the_cores(
    offer: Offer, capsys: pytest.CaptureFixture[str], word: str, code: int, line: str
) -> None:
    offer("polite", greeting("polite"))
    assert cli.main(["greet", word]) == code
    assert capsys.readouterr().err.splitlines()[-1] == line


def test_help_lists_every_command_without_importing_who_brings_it(
    offer: Offer, capsys: pytest.CaptureFixture[str]
) -> None:
    offer("explosive", greeting("explosive", "bang"), "raise SystemError('imported')\n")
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert not stop.value.code
    text = capsys.readouterr().out
    assert all(f"\n    {name} " in text for name in ("train", "check", "plugins", "data", "bang"))
    assert "brought by the plugin explosive" in text


def test_a_command_that_two_plugins_bring_is_refused_when_it_is_called(
    offer: Offer, capsys: pytest.CaptureFixture[str]
) -> None:
    offer("polite", greeting("polite"))
    offer("rude", greeting("rude"))
    assert cli.main(["greet"]) == 2
    assert "plugins 'polite' and 'rude' both bring the command 'greet': uninstall one" in capsys.readouterr().err


def test_the_cores_commands_cannot_be_taken_over(offer: Offer, capsys: pytest.CaptureFixture[str]) -> None:
    offer("greedy", greeting("greedy", "plugins"))
    assert cli.main(["plugins", "list"]) == 0
    assert "hello" not in capsys.readouterr().out


@pytest.mark.parametrize(("argv", "words"), [
    (["trian"], "there is no command 'trian': did you mean 'train'?"),
    (["gret"], "there is no command 'gret': did you mean 'greet'?"),
    ([], "the following arguments are required: COMMAND (see: mindloom --help)"),
    (["data"], "the following arguments are required: ACTION (see: mindloom data --help)"),
    (["data", "chekc"], "there is no action 'chekc' of mindloom data: did you mean 'check'?"),
    (["plugins"], "the following arguments are required: ACTION (see: mindloom plugins --help)"),
    (["count"], "plugin 'polite' (checkout): mindloom_polite:number is not a function"),
    (["lost"], "plugin 'polite' (checkout): mindloom_polite:none is not a function"),
])  # fmt: skip
def test_wrong_commands_are_one_line(
    offer: Offer, capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    targets = {"greet": "greet", "count": "number", "lost": "none"}
    offer("polite", "mindloom.commands =\n" + "".join(f"    {k} = mindloom_polite:{v}\n" for k, v in targets.items()))
    try:
        code = cli.main(argv)
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line == f"mindloom: error: {words}"


def test_formats_and_measures_are_declared_for_the_plugin_that_offers_them(offer: Offer) -> None:
    found = offer("many", "mindloom.formats =\n    a = many\n    b = other\nmindloom.measures =\n    words = m:f\n")
    assert found.formats == (("a", "many"),)
    assert found.measures == (("words", "m:f"),)


def test_an_installed_distribution_declares_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tmp_path / "site" / "mindloom_made-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mindloom-made\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        "[mindloom.plugins]\nmade = made_up:It\n[mindloom.formats]\npairs = made\n"
        "[mindloom.commands]\ngreet = made_up:greet\n"
    )
    (tmp_path / "site" / "made_up.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(discovery, "CHECKOUT", tmp_path / "none")
    assert discover()["made"].formats == (("pairs", "made"),)
    assert cli.main(["greet"]) == 3


def test_help_is_fast_and_imports_neither_mindspore_nor_plugins() -> None:
    code = (
        "import sys, time\nfrom mindloom import cli\n"
        "for argv in (['--help'], ['data', '--help'], ['data', 'check', '--help']):\n"
        "    try: cli.main(argv)\n    except SystemExit: pass\n"
        "print(time.process_time(), file=sys.stderr)\n"  # not the wall's: other tests run beside this one
        "bad = [n for n in sys.modules if n.startswith(('mindspore', 'mindloom_', 'numpy', 'PIL'))]\n"
        "print(bad, file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "core")}
    seconds = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
        assert done.stderr.splitlines()[-1] == "[]", done.stderr
        seconds.append(float(done.stderr.splitlines()[-2]))
    assert min(seconds) < 0.5


def test_a_pipe_that_nobody_reads_ends_a_command_in_silence() -> None:
    command = f"{sys.executable} -m mindloom plugins list | true; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "core"), "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (141, "")
