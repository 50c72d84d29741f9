"""Fresh processes: what importing a module draws in, and what a run computes where a plugin never was."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ..discovery import Found
from ..layers import Layers
from ..session import configure, execute, load_plugins
from .fitting import layered
from .watching import Recorder

KIT = {
    name: Found(name, f"mindloom.testing:{kind}", "", "", "the kit")
    for name, kind in {"toy": "Toy", "pictures": "Pictures", "painted": "Painted", "recorder": "Recorder"}.items()
}
FILE = "plain.npz"

IMPORT = """
import importlib, importlib.abc, importlib.util, sys, traceback
name, file = sys.argv[1:]

class Guard(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname == "mindspore":
            frames = [f for f in traceback.extract_stack()[:-1] if "importlib" not in f.filename]
            print(f"line {frames[-1].lineno} of {frames[-1].filename}: {frames[-1].line}", flush=True)
            import os
            os._exit(3)

sys.meta_path.insert(0, Guard())
try:
    known = importlib.util.find_spec(name)
except ImportError:
    known = None
if known:
    importlib.import_module(name)
else:
    spec = importlib.util.spec_from_file_location(name.rpartition(".")[2], file)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
"""


def importer_of_mindspore(module: str) -> str:
    """Import a module in a fresh process; say which line imports mindspore, or nothing if none does.

    Raises:
        AssertionError: it cannot be imported by itself.
    """
    done = _python("-c", IMPORT, module, getattr(sys.modules[module], "__file__", None) or "")
    assert done.returncode in (0, 3), f"{module} cannot be imported in a fresh process:\n{done.stderr[-2000:]}"
    return done.stdout.strip()


def plain(task: str, folder: Path, blocked: str = "") -> dict[str, np.ndarray]:
    """Train a task of the kit in this process with a plugin switched off, and return losses and weights.

    Args:
        blocked: a plugin that a config file enables and the command line switches off, if not empty.
    """
    layers = Layers()
    if blocked:
        layers.block(blocked)
        layers.add("a config file", {"plugins": {blocked: True}})
    names = (task, "recorder") if task == "toy" else (task, "painted", "recorder")
    layers.add("a config file", {**layered(folder).values, "max_steps": 4, "plugins": dict.fromkeys(names, True)})
    cfg, registry = configure(layers, load_plugins(layers, KIT))
    assert execute(cfg, registry) == 0
    recorder = registry.plugins["recorder"]
    assert isinstance(recorder, Recorder)
    return {"losses": np.array(recorder.losses), **{f"weight {key}": value for key, value in recorder.weights.items()}}


@functools.cache
def fresh(task: str) -> dict[str, np.ndarray]:
    """The same in a fresh process that never imported any plugin but those of the kit; kept for this process."""
    with tempfile.TemporaryDirectory() as folder:
        done = _python("-c", f"from {__name__} import main; main()", task, folder)
        assert done.returncode == 0, f"a run without any plugin fails:\n{done.stderr[-2000:]}"
        with np.load(Path(folder) / FILE, allow_pickle=False) as arrays:
            return dict(arrays)


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, sys.path))
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            [sys.executable, *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": path}, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=300,
        )  # fmt: skip


def main() -> None:
    """Train the task ``sys.argv[1]`` in the folder ``sys.argv[2]`` and leave the result there."""
    task, folder = sys.argv[1:]
    np.savez(Path(folder) / FILE, **plain(task, Path(folder)))  # type: ignore[arg-type]
