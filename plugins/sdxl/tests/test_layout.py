"""Names, shapes and sizes of the models, without their memory."""

from __future__ import annotations

import hashlib

import pytest
from mindloom_sdxl.cells.model import SDXLModel
from mindloom_sdxl.presets import BASE, PRESETS, TINY, Preset
from mindspore.nn.utils import no_init_parameters

# Of the lines `name:(shape)` of sd_xl_base_1.0.safetensors, sorted in the C locale, each with its newline.
OFFICIAL_SHA256 = "084682d7b8cc95b4e42560de77535d450824e547a2b6aafb31b5aa898e2ee631"
OFFICIAL_COUNTS = {"model.diffusion_model.": 1680, "conditioner.embedders.": 586, "first_stage_model.": 248}


def build(preset: Preset) -> SDXLModel:
    with no_init_parameters():
        return SDXLModel(preset)


@pytest.fixture(scope="module")
def base() -> SDXLModel:
    return build(BASE)


def size(model: SDXLModel, prefix: str = "") -> int:
    return sum(p.size for name, p in model.parameters_and_names() if name.startswith(prefix))


def test_base_has_exactly_the_official_names_and_shapes(base: SDXLModel) -> None:
    lines = sorted(f"{name}:{tuple(p.shape)}" for name, p in base.parameters_and_names())
    counts = {part: sum(line.startswith(part) for line in lines) for part in OFFICIAL_COUNTS}
    assert counts == OFFICIAL_COUNTS
    assert len(lines) == sum(OFFICIAL_COUNTS.values())
    digest = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    assert digest == OFFICIAL_SHA256, "counts agree but some name or shape does not; the first of each part:\n" + "\n".join(
        next(line for line in lines if line.startswith(part)) for part in OFFICIAL_COUNTS
    )


@pytest.mark.parametrize(
    ("prefix", "millions"),
    [("model.", 2567.46), ("conditioner.embedders.0.", 123.06), ("conditioner.embedders.1.", 694.66), ("first_", 83.65)],
)
def test_base_has_the_published_number_of_parameters(base: SDXLModel, prefix: str, millions: float) -> None:
    assert size(base, prefix) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_only_the_unet_is_trainable_and_every_parameter_knows_its_place(preset: Preset) -> None:
    for name, parameter in build(preset).parameters_and_names():
        assert parameter.name == name
        assert parameter.requires_grad == name.startswith("model.diffusion_model."), name


def test_tiny_fits_eight_megabytes_in_float16() -> None:
    assert size(build(TINY)) <= 3_900_000


def test_tiny_names_its_parameters_as_base_does(base: SDXLModel) -> None:
    official = {name for name, _ in base.parameters_and_names()}
    unknown = {name for name, _ in build(TINY).parameters_and_names()} - official
    # A different depth moves blocks in the numbered rows, so the UNet's numbers differ where its kinds do.
    assert not [name for name in unknown if not name.startswith("model.")]
