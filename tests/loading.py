"""Train, put hostile files into the checkpoint, go on from it, and print what ran while it was being read."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mindloom import session, snapshots
from mindloom.testing import fit
from mindloom_checkpoint import Checkpoint
from mindloom_checkpoint.store import Store
from omegaconf import OmegaConf

CODE = ("exec", "compile", "import", "marshal.loads", "pickle.find_class", "os.system", "os.exec", "os.posix_spawn",
        "subprocess.Popen", "ctypes.dlopen", "code.__new__", "function.__new__", "cpython.run_command")  # fmt: skip
"""Audit events of Python that mean: something is run, or was read in order to be run."""
EVIL = "open('evil', 'w').write('ran')\n"
PICKLE = b"cbuiltins\nexec\n(S\"open('evil','w')\"\ntR."
NAMES = (
    "__init__.py",
    "sitecustomize.py",
    "conftest.py",
    "model.py",
    "toy.py",
    "safetensors.py",
    "evil.pth",
    "setup.cfg",
)

watching = False
events: list[str] = []


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what runs."""
    if watching and event in CODE:
        events.append(f"{event} {str(arguments)[:200]}")


def watched(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with a close look at what happens in it."""

    def call(*arguments: Any) -> Any:
        global watching
        before, watching = watching, True
        try:
            return function(*arguments)
        finally:
            watching = before

    return call


def infest(checkpoint: Path) -> None:
    """Put files everywhere that something might run some day."""
    for folder in (checkpoint, checkpoint.parent, checkpoint.parent.parent):
        for name in NAMES:
            (folder / name).write_text(EVIL)
        for name in ("model.pkl", "model.ckpt", "optimizer.pt", "plugins.npy", "state.pickle"):
            (folder / name).write_bytes(PICKLE)
    config, state = checkpoint / "config.yaml", checkpoint / "state.json"
    config.write_text(f"x: !!python/object/apply:builtins.exec [{EVIL!r}]\n{config.read_text()}")
    meta = json.loads(state.read_text())
    receipt = {"size": config.stat().st_size, "sha256": hashlib.sha256(config.read_bytes()).hexdigest()}
    meta["files"]["config.yaml"] = receipt  # whoever makes a hostile checkpoint makes it complete
    meta["plugins"]["nobody"] = {"py/object": "builtins.exec", "__reduce__": [EVIL], "_target_": "os.system"}
    state.write_text(json.dumps(meta))


def main(folder: Path) -> None:
    """Two steps, then two more from the infested checkpoint."""
    keep = {"plugins": {"checkpoint": {"every": 1}}}
    first = fit(folder, [Checkpoint], steps=2, **keep)
    infest(max((first.path / "checkpoints").glob("step-*")))
    for owner, name in ((Store, "find"), (Store, "load"), (snapshots, "restore"), (session, "find_checkpoint")):
        setattr(owner, name, watched(getattr(owner, name)))
    sys.addaudithook(audit)
    second = fit(folder, [Checkpoint], steps=4, resume="latest", **keep)
    assert len(second.losses) == 2
    watched(compile)("1", "self-test", "eval")  # the look is not blind
    print(OmegaConf.to_yaml({"events": events, "evil": Path("evil").exists()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
