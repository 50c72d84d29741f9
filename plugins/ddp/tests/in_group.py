"""One process of a group, which puts the plugin to the contract of plugins; pytest runs this file under msrun."""

from __future__ import annotations

import sys

import pytest
from mindloom.testing import PluginContract
from mindloom_ddp import Ddp


class TestDdp(PluginContract):
    plugin = Ddp


if __name__ == "__main__":
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", __file__]))
