"""The guides' code and commands are run as they stand, on tasks that train in a second."""

from __future__ import annotations

import base64
import importlib
import inspect
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from mindloom import UserError, cli
from mindloom.formats import SampleError
from mindloom.plugin import Plugin
from mindloom.testing import Pictures, PluginContract, Shelf, fit
from PIL import Image

from .pages import ROOT, Guide, read


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[name]


def write(name: str, folder: Path) -> Guide:
    guide = read(ROOT / "docs" / name)
    for file, text in guide.files.items():
        (folder / file).write_text(text, encoding="utf-8")
    return guide


def run_commands(guide: Guide) -> int:
    """Run them all in this process; every one must succeed."""
    for argv in guide.commands:
        assert cli.main(argv) == 0, argv
    return len(guide.commands)


def run_tests(module: ModuleType, folder: Path) -> int:
    """Run a guide's own tests, and of each contract the first: the whole of it is run on what ``plugins new`` makes."""
    own: list[Callable[[Path], None]] = [f for name, f in vars(module).items() if name.startswith("test_")]
    for number, test in enumerate(own):
        place = folder / f"own-{number}"
        place.mkdir()
        test(place)
    for contract in vars(module).values():
        if inspect.isclass(contract) and issubclass(contract, PluginContract) and contract is not PluginContract:
            known = {
                name for base in contract.__mro__[1:] for name in [*vars(base), *vars(base).get("__annotations__", ())]
            }
            assert {name for name in vars(contract) if not name.startswith("_")} <= known
            assert issubclass(contract.plugin, Plugin)
    return len(own)


@pytest.mark.together  # it is converted to the csv format
def test_the_format_of_the_guide_is_checked_trained_on_and_converted(shop: Path) -> None:
    (shop / "mine").mkdir()
    for number in range(8):
        Image.new("RGB", (48, 40 + number), (30 * number, 90, 60)).save(shop / "mine" / f"a grey cat {number}.png")
    assert run_commands(write("guides/dataset-format.md", shop)) == 4
    assert "a grey cat 3" in (shop / "listed" / "data.csv").read_text()
    assert run_tests(importlib.import_module("test_pets"), shop) == 1


def test_the_stream_of_the_guide_trains_and_yields_broken_samples_in_their_place(shop: Path) -> None:
    write("guides/dataset-format.md", shop)
    file = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(file, "PNG")
    good = json.dumps({"caption": "red", "image": base64.b64encode(file.getvalue()).decode()})
    scroll = shop / "scroll.jsonl"
    scroll.write_text(f"{good}\n{good}\nnothing\n{good}\n")
    module = importlib.import_module("scroll")
    found = list(module.Lines(scroll, None).read(0, 1, 4))
    assert [isinstance(sample, SampleError) for sample in found] == [False, True, False]
    data = {"path": str(scroll), "max_broken": 0.5}
    assert len(fit(shop, [module.Scroll], steps=3, task=Pictures, data=data).losses) == 3


def test_the_logger_of_the_guide_writes(shop: Path) -> None:
    assert run_commands(write("guides/logger.md", shop)) == 2
    assert len(list(shop.glob("runs/*/notes/lines.jsonl"))) == 1
    assert run_tests(importlib.import_module("test_diary"), shop) == 1


def test_the_logger_of_the_guide_drops_what_comes_again_after_a_resume(shop: Path) -> None:
    write("guides/logger.md", shop)
    plugins = [importlib.import_module("diary").Diary, Shelf]
    first = fit(shop, plugins, steps=4, stop_at=2)
    lines = first.path / "diary" / "lines.jsonl"
    lines.write_text(lines.read_text() + '{"step": 3}\n')
    fit(shop, plugins, steps=4, resume="latest")
    assert [json.loads(line)["step"] for line in lines.read_text().splitlines()] == [1, 2, 3, 4]


def test_the_swap_of_the_guide_swaps(shop: Path, caplog: pytest.LogCaptureFixture) -> None:
    guide = write("guides/swap.md", shop)
    assert run_commands(guide) == 2
    assert "half_dense replaced 2 cells: products in float16" in caplog.messages
    assert run_tests(importlib.import_module("test_half_dense"), shop) == 1


def test_the_task_of_the_guide_learns_and_shows_pictures(shop: Path) -> None:
    guide = write("guides/task.md", shop)
    assert run_tests(importlib.import_module("test_upscale"), shop) == 1
    module, tests = importlib.import_module("upscale"), importlib.import_module("test_upscale")
    weight = str(shop / "own-0" / "weights.safetensors")
    with pytest.raises(UserError, match="holds weights of another model"):
        fit(shop, [tests.Squares], task=module.Upscale, upscale={"width": 4}, weight=weight)
    picture = shop / "large.png"
    Image.new("RGB", (90, 60), "red").save(picture)
    (shown,) = module.UpscaleTask(module.Upscale.Config(size=32, width=8)).preview([str(picture)], seed=0)
    assert (shown.shape, shown.dtype) == ((32, 96, 3), "uint8")
    assert [argv[0] for argv in guide.commands] == ["train", "train"]


def test_the_plugin_of_the_overview_logs_and_refuses_other_names(shop: Path) -> None:
    write("plugins.md", shop)
    assert run_tests(importlib.import_module("test_csvlog"), shop) == 1
    with pytest.raises(UserError, match=r"a.txt is no .csv"):
        fit(shop, [importlib.import_module("csvlog").Csvlog], csvlog={"path": "a.txt"})


def test_the_plugin_of_the_readme_logs(shop: Path) -> None:
    write("../README.md", shop)
    fitted = fit(shop, {"my_logger": importlib.import_module("my_logger").Jsonlog}, steps=2)
    lines = (fitted.path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
