"""Between two logs nothing reads a tensor from the device: that would make the host wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore as ms
import pytest
from mindloom import Plugin, hookimpl
from mindloom.precision import LossScale, Precision
from mindloom.testing import fit

READS = ("asnumpy", "item", "__float__", "__bool__", "__int__", "tolist")
"""What of a tensor makes the host wait."""


class Watch(Plugin):
    """Writes down after how many steps tensors are read; has a loss scale, too."""

    run: Any = None
    reads: list[int]

    @hookimpl
    def make_precision(self) -> Precision:
        """A step that may overflow: whether it did stays on the device."""
        return Precision(scale=LossScale(4.0))

    @hookimpl
    def on_train_start(self, run: Any) -> None:
        """Begin."""
        Watch.run, Watch.reads = run, []


@pytest.mark.parametrize("accumulate", [1, 2])
def test_tensors_are_read_at_logs_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int) -> None:
    def watched(read: Any) -> Any:
        def wrapper(tensor: Any, *args: Any) -> Any:
            if Watch.run is not None and Watch.run.step:  # before that the graph is compiled, with its constants
                Watch.reads.append(Watch.run.step)
            return read(tensor, *args)

        return wrapper

    for name in READS:
        monkeypatch.setattr(ms.Tensor, name, watched(getattr(ms.Tensor, name)))
    monkeypatch.setattr(Watch, "run", None)
    fit(tmp_path, [Watch], steps=7, log_interval=3, gradient_accumulation_steps=accumulate)
    assert set(Watch.reads) == {3, 6, 7}
