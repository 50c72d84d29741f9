"""The import of wids with torch and without it: what stands in is gone afterwards, what is there stays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

BLOCK = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("no torch here")
sys.meta_path.insert(0, NoTorch())
"""

STUB = """
import sys, types
for name in ("torch", "torch.distributed", "torch.utils", "torch.utils.data"):
    sys.modules[name] = types.ModuleType(name)
class Data:
    def __class_getitem__(cls, item):
        return cls
sys.modules["torch"].distributed = sys.modules["torch.distributed"]
sys.modules["torch.utils.data"].Dataset = sys.modules["torch.utils.data"].Sampler = Data
before = {name: module for name, module in sys.modules.items() if name.startswith("torch")}
"""


def python(code: str) -> str:
    """Run code in a process of its own."""
    path = ":".join(sys.path)
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.strip()


def test_without_torch_shards_are_read_and_nothing_of_torch_remains(shards: Callable[[], Path]) -> None:
    folder = shards()
    code = f"""{BLOCK}
from mindloom_wids import Wids
from mindloom.world import World
source = Wids().open({str(folder)!r}, World())
print([name for name in sys.modules if name.partition(".")[0] == "torch"], source[12]["caption"])
try:
    import torch
except ImportError as error:
    print(error)
"""
    assert python(code) == "[] sample 12\nno torch here"


def test_torch_that_is_there_stays_untouched() -> None:
    code = f"""{STUB}
from mindloom_wids.library import library
module = library()
assert module.dist is before["torch.distributed"] and module.Dataset is Data
print({{name: module for name, module in sys.modules.items() if name.startswith("torch")}} == before)
"""
    assert python(code) == "True"


def test_what_stands_in_goes_when_the_import_fails_and_the_error_is_one_line() -> None:
    for missing, said in (
        ("wids", "the format wids needs the package wids: pip install wids"),
        ("wids.wids_lru", "the package wids cannot be imported (no wids.wids_lru): pip install wids.wids_lru"),
        ("braceexpand", None),
    ):
        code = f"""{BLOCK}
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == {missing!r}:
            raise ModuleNotFoundError("no " + name, name=name)
sys.meta_path.insert(0, Missing())
from mindloom import UserError
from mindloom_wids.library import library
try:
    library()
except UserError as error:
    print(error)
print([name for name in sys.modules if name.partition(".")[0] == "torch"])
"""
        assert python(code) == (f"{said}\n[]" if said else "[]")


def test_listing_the_plugin_imports_neither_wids_nor_torch() -> None:
    heavy = ("wids", "torch", "PIL", "numpy", "mindspore")
    assert python(f"import sys, mindloom_wids; print([name for name in {heavy} if name in sys.modules])") == "[]"
