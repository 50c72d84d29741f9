"""The branch for Ascend and GPU, driven by a stand-in for ``mindspore.data_sink``, which knows no CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
import pytest
from mindloom.testing import fit
from mindloom_sink import Sink, looped
from mindloom_sink.queued import queued


class Device:
    """Counts the sinks that were made, and the steps that each call of one ran."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.rates: list[float] = []

    def data_sink(self, step: Any, dataset: Any, sink_size: int, jit_config: Any) -> Callable[[], Any]:
        """As documented: each call takes ``sink_size`` batches and returns the last one's outputs."""
        assert isinstance(jit_config, ms.JitConfig)
        assert dataset.get_dataset_size() % sink_size == 0
        rows: Iterator[Any] = dataset.create_tuple_iterator(num_epochs=1)
        self.sizes.append(sink_size)

        def dispatch() -> Any:
            for _ in range(sink_size):
                rate, *columns = next(rows)
                self.rates.append(float(rate.asnumpy()))
                outputs = step(rate, *columns)
            return outputs

        return dispatch


def train(folder: Path, name: str, size: int | None, **more: Any) -> Any:
    place = folder / name
    place.mkdir(exist_ok=True)
    sections: dict[str, Any] = {"toy": {"samples": 24}}
    if size is not None:
        sections["sink"] = {"size": size}
    optim = {"lr": 0.05, "schedule": "cosine", "warmup_steps": 3}
    settings = {"plugins": sections, "optim": optim, "log_interval": size or 1, **more}
    return fit(place, [Sink] if size is not None else [], steps=10, **settings)


def test_a_queue_gives_every_row_in_order_and_a_partial_dispatch_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(tmp_path, "plain", None)
    device = Device()
    monkeypatch.setattr(ms, "data_sink", device.data_sink)
    # The plugin asks the run for its device, which is a CPU here.
    monkeypatch.setattr(looped, "looped", lambda run, step, dataset, size: queued(run, step, dataset, size, 3))
    sunk = train(tmp_path, "sunk", 4)
    assert device.sizes == [4, 2]
    assert ds.config.get_prefetch_size() == 3
    assert device.rates == [float(np.float32(record["lr"])) for record in plain.records]
    assert sunk.losses == [plain.losses[3], plain.losses[7], plain.losses[9]]
    assert [record["lr"] for record in sunk.records] == [plain.records[step]["lr"] for step in (3, 7, 9)]
    for name, weight in plain.weights.items():
        np.testing.assert_array_equal(sunk.weights[name], weight)
