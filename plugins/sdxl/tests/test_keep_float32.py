"""What must not become float16 is found by its name: every norm, the positions and the VAE, and little else."""

from __future__ import annotations

import pytest
from mindloom.cells import Conv2d, Dense, GroupNorm, LayerNorm
from mindloom.precision import Precision
from mindloom_sdxl.cells.basic import Embedding
from mindloom_sdxl.cells.model import SDXLModel
from mindloom_sdxl.presets import BASE, PRESETS
from mindloom_sdxl.task import KEEP_FLOAT32
from mindspore.nn.utils import no_init_parameters

KEPT = Precision(keep_float32=KEEP_FLOAT32)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_norms_positions_and_vae_are_kept_and_other_layers_are_not(preset: str) -> None:
    with no_init_parameters():
        model = SDXLModel(PRESETS[preset])
    for name, cell in model.cells_and_names():
        for parameter in cell.parameters_dict(recurse=False):
            kept = KEPT.keeps(parameter)
            if isinstance(cell, LayerNorm | GroupNorm) or parameter.startswith("first_stage_model."):
                assert kept, parameter
            elif isinstance(cell, Dense | Conv2d):
                assert not kept, parameter
            elif isinstance(cell, Embedding):
                assert kept == name.endswith("position_embedding"), parameter


def test_less_than_a_hundredth_of_the_unet_and_the_text_encoders_is_kept() -> None:
    with no_init_parameters():
        model = SDXLModel(BASE)
    sizes = {n: p.size for n, p in model.parameters_and_names() if not n.startswith("first_stage_model.")}
    assert sum(size for name, size in sizes.items() if KEPT.keeps(name)) < 0.01 * sum(sizes.values())
