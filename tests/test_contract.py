"""The kit's own plugins hold to the contract that it asks of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mindloom.testing import Painted, Pictures, PluginContract, Toy


class TestToy(PluginContract):
    plugin = task = Toy


class TestPictures(PluginContract):
    plugin = task = Pictures
    others = (Painted,)
    settings: Mapping[str, Any] = {"random_crop": True, "flip": 0.5}
