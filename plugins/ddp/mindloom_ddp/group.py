"""The group of processes: joining it, and agreeing on small things in it."""

from __future__ import annotations

from dataclasses import dataclass, field

import mindspore as ms
import numpy as np
from mindloom import UserError
from mindloom.world import World
from mindspore import communication, nn
from mindspore import ops as P


class Gather(nn.Cell):
    """``[n]`` int32 on every process -> ``[size, n]``."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.gather, self.reshape = size, P.AllGather(), P.Reshape()

    def construct(self, values: ms.Tensor) -> ms.Tensor:
        return self.reshape(self.gather(values), (self.size, -1))


@dataclass(frozen=True)
class Group(World):
    """The processes that a launcher started. Everything here is called by all of them, or they wait for ever."""

    cells: dict[str, nn.Cell] = field(default_factory=dict, compare=False)

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Everybody's row of integers (int32 ``[n]``, the same n everywhere), as ``[size, n]``."""
        cell = self.cells.setdefault("gather", Gather(self.size))
        return np.asarray(cell(ms.Tensor(values.astype(np.int32))).asnumpy())

    def share(self, text: str) -> str:
        data = np.frombuffer(text.encode(), np.uint8)
        longest = int(self.gather(np.array([len(data)]))[0, 0])  # the main process's
        row = np.zeros(longest, np.int32)
        if self.is_main:
            row[:] = data
        return bytes(self.gather(row)[0].astype(np.uint8)).decode() if longest else ""

    def any(self, flag: bool) -> bool:
        return bool(self.gather(np.array([flag])).any())


def join() -> Group:
    """Join the group that msrun, mpirun or a rank table describes.

    Raises:
        UserError: the launcher's environment does not fit.
    """
    try:
        communication.init()
    except (RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the process group cannot be joined: {reason}: start with msrun or mpirun") from error
    return Group(communication.get_rank(), communication.get_group_size())
