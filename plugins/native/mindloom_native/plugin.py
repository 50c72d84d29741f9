"""Which cells the kernels replace, and what the log says about it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mindloom import Plugin, hookimpl
from mindloom.schema import setting

if TYPE_CHECKING:
    from mindloom.edits import CellEdit
    from mindloom.run import Run
    from mindspore import nn


class Native(Plugin):
    """C++ kernels for a CPU: transformer blocks, linear layers, convolutions, norms, activations, softmax and AdamW."""

    cfg: Any

    @dataclass
    class Config:
        """What to replace."""

        cells: bool = setting(
            True, "transformer blocks, linear layers, convolutions, normalisation, activations and softmax of the model"
        )
        optimizer: bool = setting(True, "AdamW, with the norm of the gradients and their clipping")

    library: Path | None = None

    @hookimpl
    def edit_model(self, run: Run, model: nn.Cell) -> Sequence[CellEdit]:
        """Claim the cells of ``mindloom.cells``, unless another plugin wants them."""
        self.library = self._compiled(run)
        if not self.library or not self.cfg.cells:
            return []
        from .compile import has_products

        if not has_products():
            run.log.info(
                "native leaves linear layers and convolutions plain: this MindSpore has no libdnnl with dnnl_sgemm"
            )
            return [self._edit(self.library, products=False)]
        return [self._edit(self.library, products=True), self._blocks(self.library)]

    @hookimpl(wrapper=True)
    def make_optimizer(self, run: Run, params: Any) -> Generator[None, Any, Any]:
        """Put the kernel in the place of the core's AdamW; another plugin's optimizer stays."""
        made = yield
        if not self.library or not self.cfg.optimizer:
            return made
        from mindloom.optim import AdamW

        from .optimizer import NativeAdamW, limits

        if type(made) is not AdamW:
            return made
        if why := limits(made.params):
            run.log.info("native leaves AdamW plain: %s", why)
            return made
        run.log.info("native updates %d parameters in one pass", len(made.params))
        return NativeAdamW(made, self.library)

    @hookimpl(wrapper=True)
    def make_step(self, run: Run, parts: Any) -> Generator[None, Any, Any]:
        """Join clipping and update."""
        step = yield
        if self.library and self.cfg.optimizer:
            from .optimizer import fuse

            fuse(step)
        return step

    def _compiled(self, run: Run) -> Path | None:
        if run.device.target != "CPU":
            run.log.info("native does nothing on %s: its kernels are for a CPU", run.device.target)
            return None
        from mindloom.kernels import KernelUnavailableError

        from .compile import library

        try:
            return library()
        except KernelUnavailableError as error:
            run.log.warning("native: no C++ kernels, so MindSpore's own, slower operators stay: %s", error)
            return None

    def _edit(self, library: Path, products: bool) -> CellEdit:
        from mindloom.edits import CellEdit

        from .cells import KINDS, PRODUCTS, native

        def match(name: str, cell: Any) -> bool:
            return type(cell) in KINDS and (products or type(cell) not in PRODUCTS)

        def build(name: str, cell: Any) -> nn.Cell:
            return native(cell, library)

        return CellEdit(match, build, f"C++ kernels {library}", yields=True, alters=False, equal=True)

    def _blocks(self, library: Path) -> CellEdit:
        from mindloom.edits import CellEdit
        from mindloom.transformer import TransformerBlock

        from .blocks import NativeTransformerBlock, fits

        def match(name: str, cell: Any) -> bool:
            return type(cell) is TransformerBlock and fits(cell)

        def build(name: str, cell: Any) -> nn.Cell:
            return NativeTransformerBlock(cell, library)

        why = "a whole transformer block in one node"
        return CellEdit(match, build, why, yields=True, alters=False, equal=True, wraps=True)
