"""The layouts' names and shapes: those of the cells, of the official file, of the reference recipe, and back again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from mindloom_sdxl.cells.model import SDXLModel
from mindloom_sdxl.cells.unet import UNet
from mindloom_sdxl.layouts import names, shapes
from mindloom_sdxl.layouts.tensors import Lazy, Tensors
from mindloom_sdxl.presets import PRESETS, TINY, Preset
from mindspore.nn.utils import no_init_parameters

MODELS = shapes.models()
WITHOUT_SCALE = ("conditioner.embedders.1.model.logit_scale", "conditioner.embedders.0.model.logit_scale")


def numbered(wanted: Mapping[str, tuple[int, ...]]) -> Tensors:
    """Every tensor has numbers of its own, so that none can be taken for another."""
    found, start = {}, 0
    for name, shape in wanted.items():
        values = (np.arange(np.prod(shape, dtype=int)) + start).astype(np.float32).reshape(shape)
        found[name], start = Lazy("F32", shape, lambda v=values: v), start + values.size
    return found


def same(found: Tensors, wanted: Tensors) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].shape == tensor.shape, name
        np.testing.assert_array_equal(found[name].read(), tensor.read(), err_msg=name)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_shapes_are_those_of_the_cells(preset: Preset) -> None:
    with no_init_parameters():
        model = SDXLModel(preset)
    assert shapes.of(preset) == {name: tuple(p.shape) for name, p in model.parameters_and_names()}


@pytest.mark.parametrize("model", MODELS)
def test_diffusers_names_and_back_are_the_official_ones(model: str) -> None:
    there = names.to_diffusers({name: Lazy("F32", shape, np.ndarray) for name, shape in MODELS[model].items()})
    back = names.to_official(there)
    wanted = {name: shape for name, shape in MODELS[model].items() if name not in WITHOUT_SCALE}
    assert {name: tensor.shape for name, tensor in back.items()} == wanted


def test_there_and_back_keeps_every_number() -> None:
    tiny = numbered({name: shape for name, shape in MODELS["tiny"].items() if name not in WITHOUT_SCALE})
    same(names.to_official(names.to_diffusers(tiny)), tiny)
    same(names.from_mindspore(names.to_mindspore(tiny)), tiny)


@pytest.mark.parametrize(
    "change",
    [
        {"res_blocks": 2},
        {"res_blocks": 3, "mult": (1, 2), "depths": (1, 0)},
        {"middle_depth": 0, "depths": (2, 0, 1)},
        {"mult": (1, 2, 2, 3), "depths": (0, 1, 1, 0)},
    ],
)
def test_any_structure_of_a_unet_goes_there_and_back(change: dict[str, object]) -> None:
    config = dataclasses.replace(TINY.unet, **change)  # type: ignore[arg-type]
    with no_init_parameters():
        cells = {name: tuple(p.shape) for name, p in UNet(config).parameters_and_names()}
    assert dict(shapes.unet(config)) == cells
    unet = {names.UNET + name: Lazy("F32", shape, np.ndarray) for name, shape in cells.items()}
    there = names.to_diffusers(unet)
    assert len(there["unet"]) == len(unet)
    assert {n: t.shape for n, t in names.to_official(there).items()} == {n: t.shape for n, t in unet.items()}


def test_reference_recipe_renames_799_tensors_of_base() -> None:
    base = {name: Lazy("F32", shape, np.ndarray) for name, shape in MODELS["base"].items()}
    renamed = names.to_mindspore(base)
    assert len(renamed.keys() - base.keys()) == 799
    assert names.from_mindspore(renamed) == base


def test_packed_projection_and_text_projection_are_moved_as_transformers_has_them() -> None:
    tiny = numbered(MODELS["tiny"])
    second = names.to_diffusers(tiny)["text_encoder_2"]
    packed = tiny["conditioner.embedders.1.model.transformer.resblocks.1.attn.in_proj_weight"].read()
    for part, third in zip("qkv", np.split(packed, 3), strict=True):
        name = f"text_model.encoder.layers.1.self_attn.{part}_proj.weight"
        np.testing.assert_array_equal(second[name].read(), third)
    turned = tiny["conditioner.embedders.1.model.text_projection"].read().T
    np.testing.assert_array_equal(second["text_projection.weight"].read(), turned)


def test_older_names_of_the_vaes_attention_are_read() -> None:
    vae = names.to_diffusers(numbered(MODELS["tiny"]))["vae"]
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    found = {}
    for name, tensor in vae.items():
        for new, old in older.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        found[name] = tensor
    assert found.keys() != vae.keys()
    same(names.to_official({"vae": found}), names.to_official({"vae": vae}))
