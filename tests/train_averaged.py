"""One of two processes that train the toy task for one step with averaged weights, from different initial weights."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindloom import Plugin, hookimpl
from mindloom.testing import fit
from mindloom_ddp import Ddp
from mindloom_ema import Ema


class Values(Plugin):
    """Makes the processes' initial weights differ; notes them, those that training begins with, and what comes out."""

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.seen: dict[str, np.ndarray] = {}

    def note(self, kind: str, run: Any) -> None:
        """Under a name such as ``before.weight``."""
        self.seen |= {f"{kind}.{p.name}": p.asnumpy().copy() for p in run.task.model.trainable_params()}

    @hookimpl(wrapper=True)
    def make_step(self, run: Any) -> Any:
        """Add the rank and a little."""
        step = yield
        for param in run.task.model.trainable_params():
            param.set_data(ms.Tensor(param.asnumpy() + np.float32(run.world.rank + 0.25)))
        self.note("own", run)
        return step

    @hookimpl
    def on_step_start(self, run: Any) -> None:
        """Everybody's ``on_train_start`` is done."""
        self.note("before", run)

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """After the only step."""
        self.note("after", run)
        self.seen |= {f"average.{param.name}": copy.asnumpy().copy() for param, copy in run.averages.copies}


def main(folder: Path) -> int:
    """Train and write ``result.<rank>.npz``."""
    plugins = {"ddp": Ddp, "ema": Ema, "values": Values}
    settings: dict[str, Any] = {"ema": {"decay": 0.5, "warmup": False}}
    fitted = fit(folder, plugins, steps=1, plugins=settings, optim={"lr": 0.1})
    values = fitted.plugins["values"]
    assert isinstance(values, Values)
    np.savez(folder / f"result.{os.environ['RANK_ID']}.npz", **values.seen)
    return fitted.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
