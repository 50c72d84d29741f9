"""Names, shapes and sizes of the models, without their memory."""

from __future__ import annotations

import hashlib

import pytest
from mindloom_sdxl.cells.model import SDXLModel
from mindloom_sdxl.presets import BASE, PRESETS, TINY, Preset
from mindspore.nn.utils import no_init_parameters

# Of the lines `name:(shape)` of sd_xl_base_1.0.safetensors, sorted in the C locale, each with its newline.
OFFICIAL = "084682d7b8cc95b4e42560de77535d450824e547a2b6aafb31b5aa898e2ee631"
# How many of them each part has, the start of the same digest over its lines alone, and its size in millions.
PARTS = {
    "model.diffusion_model.": (1680, "70e3433182b141c1", 2567.46),
    "conditioner.embedders.0.": (196, "2c6c37f3c3312fe2", 123.06),
    "conditioner.embedders.1.": (390, "94331b5205151f65", 694.66),
    "first_stage_model.": (248, "4b336cd953d3ae96", 83.65),
}


def build(preset: Preset) -> SDXLModel:
    with no_init_parameters():
        return SDXLModel(preset)


@pytest.fixture(scope="module")
def base() -> SDXLModel:
    return build(BASE)


def layout(model: SDXLModel, prefix: str = "") -> list[str]:
    return sorted(f"{name}:{tuple(p.shape)}" for name, p in model.parameters_and_names() if name.startswith(prefix))


def digest(lines: list[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def size(model: SDXLModel, prefix: str = "") -> int:
    return sum(p.size for name, p in model.parameters_and_names() if name.startswith(prefix))


@pytest.mark.parametrize("prefix", PARTS)
def test_each_part_of_base_has_the_official_names_shapes_and_size(base: SDXLModel, prefix: str) -> None:
    count, start, millions = PARTS[prefix]
    lines = layout(base, prefix)
    assert len(lines) == count
    assert digest(lines).startswith(start), "some name or shape is off; this is what was built:\n" + "\n".join(lines)
    assert size(base, prefix) / 1e6 == pytest.approx(millions, abs=0.01)


def test_base_has_exactly_the_official_names_and_shapes(base: SDXLModel) -> None:
    assert digest(layout(base)) == OFFICIAL


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_only_the_unet_is_trainable_and_every_parameter_knows_its_place(preset: Preset) -> None:
    for name, parameter in build(preset).parameters_and_names():
        assert parameter.name == name
        assert parameter.requires_grad == name.startswith("model.diffusion_model."), name


def test_tiny_fits_eight_megabytes_in_float16() -> None:
    assert size(build(TINY)) <= 3_900_000
