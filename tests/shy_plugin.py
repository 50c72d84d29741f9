"""A plugin whose cell holds what nobody can look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import mindspore as ms
from mindloom import Plugin, hookimpl
from mindspore import nn


class Secret(Mapping[str, int]):
    """Refuses to be read."""

    def __getitem__(self, key: str) -> int:
        raise RuntimeError("leave me alone")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("leave me alone")

    def __len__(self) -> int:
        return 1


class Same(nn.Cell):
    """Changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.secret = Secret()

    def construct(self, gradients: tuple[ms.Tensor, ...]) -> tuple[ms.Tensor, ...]:
        return gradients


class Shy(Plugin):
    """Adds the cell."""

    @hookimpl
    def add_grad_ops(self, run: Any) -> Sequence[nn.Cell]:
        """Nothing happens to gradients."""
        return [Same()]
