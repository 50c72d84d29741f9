"""A run on shards, one of which is cut off: broken samples are replaced and written down."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mindloom import hookimpl
from mindloom.testing import Toy, fit
from mindloom_wids import Wids


class Brightness(Toy):
    """The toy task on pictures: inputs are the mean colour and a constant."""

    @dataclass
    class Config(Toy.Config):
        """As the toy's."""

    @hookimpl
    def make_task(self) -> Any:
        from mindloom.testing import ToyTask

        class Task(ToyTask):
            def transform(self, sample: Any, draw: Any) -> dict[str, np.ndarray]:
                colour = sample["image"].pixels().astype(np.float32).mean(axis=(0, 1)) / 255
                return {
                    "inputs": np.append(colour, 1).astype(np.float32),
                    "targets": np.array([len(sample["caption"])], np.float32),
                }

        return Task(4)


def test_a_run_replaces_what_a_cut_shard_lost(tmp_path: Path, shards: Callable[..., Path]) -> None:
    folder = shards(count=2, each=8)
    listed = [{"url": f"{number:03d}.tar", "nsamples": 8} for number in range(2)]
    (folder / "data_info.json").write_text(json.dumps({"wids_version": 1, "shardlist": listed}))
    data = (folder / "001.tar").read_bytes()
    (folder / "001.tar").write_bytes(
        data[: 4 * 2560]
    )  # a sample: two headers, a picture of up to 1024 bytes, a caption
    plugins = {"toy": Brightness, "wids": Wids}
    settings = {"path": str(folder), "format": "wids", "workers": 2, "max_broken": 0.5}
    fitted = fit(tmp_path, plugins, steps=16, data=settings)
    assert fitted.exit_code == 0
    lines = (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()
    broken = [json.loads(line) for line in lines]
    assert sorted(entry["id"] for entry in broken) == [f"001/#{place}" for place in range(4, 8)]
    assert all("001.tar" in entry["where"] for entry in broken)
