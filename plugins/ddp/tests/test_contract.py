"""The plugin holds to the contract of plugins, in a group that msrun makes; larger groups are the other tests'."""

from __future__ import annotations

from pathlib import Path

import mindloom.testing
from mindloom_ddp.testing import msrun


def test_the_contract_holds_in_a_group(tmp_path: Path) -> None:
    with msrun(tmp_path, str(Path(__file__).with_name("in_group.py")), workers=1) as launched:
        code = launched.wait(200)
    told = launched.output(0)
    promised = [name for name in dir(mindloom.testing.PluginContract) if name.startswith("test_")]
    assert code == 0, told[-4000:]
    assert f"{len(promised)} passed" in told
