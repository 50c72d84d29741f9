"""Equal parameters on every process: sent by the main one, and compared by checksum."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable
from typing import Any

import mindspore as ms
import numpy as np
from mindloom import TrainingError
from mindspore import nn
from mindspore import ops as P

from .group import Group

LOG = logging.getLogger("mindloom")


class Broadcast(nn.Cell):
    """One flat tensor of the main process, on every process."""

    def __init__(self) -> None:
        super().__init__()
        self.send = P.Broadcast(0)

    def construct(self, values: ms.Tensor) -> ms.Tensor:
        return self.send((values,))[0]


PIECE = 1 << 22
"""Numbers sent at once: one graph serves parameters of every shape."""


def broadcast(group: Group, params: Iterable[Any]) -> None:
    """Overwrite every parameter by the main process's, bit for bit."""
    cell = Broadcast()
    for bundle in bundles(params):
        flat = np.concatenate([np.ascontiguousarray(param.asnumpy()).reshape(-1).view(np.uint8) for param in bundle])
        words = np.zeros(PIECE, np.int32)
        sent = bytearray()
        for start in range(0, flat.size, PIECE * 4):
            piece = flat[start : start + PIECE * 4]
            words.view(np.uint8)[: piece.size] = piece
            sent += cell(ms.Tensor(words)).asnumpy().view(np.uint8)[: piece.size].tobytes()
        place = 0
        for param in () if group.is_main else bundle:
            old = param.asnumpy()
            new = np.frombuffer(sent, old.dtype, old.size, place).reshape(old.shape)
            param.set_data(ms.Tensor(new.copy()))
            place += old.nbytes


def bundles(params: Iterable[Any]) -> Iterable[list[Any]]:
    """Group small parameters, so that each piece that is sent is about full."""
    bundle: list[Any] = []
    size = 0
    for param in params:
        bundle.append(param)
        size += param.asnumpy().nbytes
        if size >= PIECE * 4:
            yield bundle
            bundle, size = [], 0
    if bundle:
        yield bundle


def checksum(params: Iterable[Any]) -> int:
    """CRC-32 over the bytes of all parameters, in order."""
    value = 0
    for param in params:
        value = zlib.crc32(np.ascontiguousarray(param.asnumpy()).view(np.uint8).reshape(-1).data, value)
    return value


def verify(group: Group, params: Iterable[Any], when: str) -> None:
    """Compare every process's parameters with the main one's.

    Raises:
        TrainingError: they differ; it names the processes.
    """
    own = checksum(params)
    rows = group.gather(np.array([own >> 16, own & 0xFFFF]))
    different = [str(rank) for rank in range(group.size) if (rows[rank] != rows[0]).any()]
    if different:
        raise TrainingError(
            f"the parameters of process {', '.join(different)} differ from those of process 0 {when}: "
            "its device or memory may be faulty; resume from an earlier checkpoint"
        )
    LOG.info("all %d processes have equal parameters %s", group.size, when)
