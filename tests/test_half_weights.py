"""SDXL's weights with fp16: filled in float16 from the file, and bit for bit those that are cast after loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindloom_sdxl
import numpy as np
import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.testing import fit
from mindloom_csv import Csv
from mindloom_fp16 import Fp16
from mindloom_sdxl import Sdxl
from mindloom_sdxl.task import SdxlTask

from .data_sets import sound

pytestmark = pytest.mark.together
WEIGHTS = Path(mindloom_sdxl.__file__).parent / "assets" / "tiny.safetensors"


class Look(Plugin):
    """Keeps the parameters, and has seen enough."""

    values: dict[str, np.ndarray]

    @hookimpl
    def on_train_start(self, run: Any) -> None:
        type(self).values = {name: param.asnumpy() for name, param in run.task.model.parameters_and_names()}
        raise UserError("enough")


def test_lowered_before_or_after_loading_sdxl_has_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, found = sound(tmp_path / "set"), []
    assert SdxlTask.casts_weights
    for casts in (True, False):
        monkeypatch.setattr(SdxlTask, "casts_weights", casts)
        with pytest.raises(UserError, match="enough"):
            fit(
                tmp_path,
                {"csv": Csv, "fp16": Fp16, "look": Look},
                task=Sdxl,
                weight=str(WEIGHTS),
                sdxl={"preset": "tiny"},
                data={"path": str(data)},
                optim={"lr": 1e-3},
            )
        found.append({name: (value.dtype.name, value.tobytes()) for name, value in Look.values.items()})
    assert found[0] == found[1]
    assert {dtype for dtype, _ in found[0].values()} == {"float16", "float32"}
