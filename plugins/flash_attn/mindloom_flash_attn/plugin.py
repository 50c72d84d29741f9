"""Which attention takes the place of the plain one, and what the log says about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mindloom import Plugin, hookimpl
from mindloom.schema import setting

if TYPE_CHECKING:
    from mindloom.edits import CellEdit
    from mindloom.run import Run
    from mindspore import nn


class FlashAttn(Plugin):
    """Attention that never forms the tokens x tokens matrix."""

    cfg: Any

    @dataclass
    class Config:
        """How far to go for it."""

        kernel: bool = setting(True, "CPU: use a C++ kernel, compiled once; false: chunks of MindSpore operations")
        cast: bool = setting(False, "Ascend: compute float32 attention in float16, which is all its kernel knows")

    @hookimpl
    def edit_model(self, run: Run, model: nn.Cell) -> Sequence[CellEdit]:
        """Claim every ``mindloom.attention.Attention`` that the device's own attention can replace."""
        if run.device.target == "Ascend":
            return [self._ascend(run, model)]
        if run.device.target == "CPU" and self.cfg.kernel:
            return [self._native(run)]
        return [self._chunked()]

    def _native(self, run: Run) -> CellEdit:
        from mindloom.edits import CellEdit
        from mindloom.kernels import KernelUnavailableError

        from .compile import library

        try:
            path = library()
        except KernelUnavailableError as error:
            run.log.warning("flash_attn: no C++ kernel, so attention runs in chunks, which is slower: %s", error)
            return self._chunked()

        from .native import NativeAttention

        def build(name: str, cell: Any) -> nn.Cell:
            return NativeAttention.like(cell, path)

        return CellEdit(is_attention, build, f"memory linear in tokens, C++ kernel {path}", equal=True)

    def _chunked(self) -> CellEdit:
        from mindloom.edits import CellEdit

        from .chunked import CHUNK, ChunkedAttention

        def build(name: str, cell: Any) -> nn.Cell:
            return ChunkedAttention.like(cell)

        return CellEdit(is_attention, build, f"scores of {CHUNK} queries at a time", equal=True)

    def _ascend(self, run: Run, model: nn.Cell) -> CellEdit:
        from mindloom.edits import CellEdit

        from .ascend import AscendAttention, limit

        def match(name: str, cell: Any) -> bool:
            return is_attention(name, cell) and not limit(cell.heads, cell.head_dim)

        def build(name: str, cell: Any) -> nn.Cell:
            return AscendAttention.like(cell, self.cfg.cast)

        found = [cell for name, cell in model.cells_and_names() if is_attention(name, cell)]
        for why, count in Counter(limit(cell.heads, cell.head_dim) for cell in found).items():
            if why:
                run.log.info("flash_attn leaves %d cells plain: %s", count, why)
        rest = "float32 computed in float16" if self.cfg.cast else "float32 inputs stay plain"
        return CellEdit(match, build, f"fused FlashAttentionScore for float16 and bfloat16; {rest}")


def is_attention(name: str, cell: Any) -> bool:
    """Tell plain attention, and nothing derived from it, from other cells."""
    from mindloom.attention import Attention

    return type(cell) is Attention
