"""Both text encoders against transformers, on real captions: every tensor on the way, and every gradient."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom_sdxl.tokens import CaptionTokenizer, load_tokenizer
from mindspore import nn

from .gradients import assert_same_gradients
from .pairing import pair
from .reference import PRESET, normal, tensors, torch
from .trail import assert_same, of_mindspore

CAPTIONS = ("a red disc on a light background", "Ünusual wörds, 123 numbers & an ☂", "very " * 90, "")


@pytest.fixture(scope="module")
def tokenizer(folder: Any) -> CaptionTokenizer:
    """From the vocabulary that diffusers put beside the weights."""
    return load_tokenizer("", PRESET.name, str(folder))


@pytest.fixture(scope="module")
def columns(tokenizer: CaptionTokenizer) -> list[np.ndarray]:
    """ids_1, ids_2 and eot_index of the captions."""
    return [np.stack(column) for column in zip(*map(tokenizer.encode, CAPTIONS), strict=True)]


def test_tokens_are_those_of_the_pipelines_tokenizers(columns: list[np.ndarray], pipe: Any) -> None:
    for theirs, ids in zip((pipe.tokenizer, pipe.tokenizer_2), columns, strict=False):
        expected = theirs(list(CAPTIONS), padding="max_length", max_length=77, truncation=True).input_ids
        np.testing.assert_array_equal(ids, expected)
    # open_clip's tokenizer gives the same for its vocabulary.
    known = [49406, 320, 736, 10712, 525, 320, 1395, 5994, 49407]
    assert columns[0][0].tolist() == known + [49407] * 68


class AsTuple(nn.Cell):
    def __init__(self, net: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.net = net

    def construct(self, ids: ms.Tensor) -> tuple[ms.Tensor]:
        return (self.net(ids),)


def first(theirs: Any, ids: Any) -> tuple[Any]:
    return (theirs(ids.long(), output_hidden_states=True).hidden_states[-2],)


def second(theirs: Any, ids: Any, _: Any) -> tuple[Any, Any]:
    out = theirs(ids.long(), output_hidden_states=True)
    return out.hidden_states[-2], out.text_embeds


def test_first_encoders_every_tensor_equals_transformers(
    model: Any, pipe: Any, columns: list[np.ndarray], eager: None
) -> None:
    part = pair(model, pipe, "text_encoder")
    with part.trails() as (ours, theirs), torch.no_grad():
        hidden = of_mindspore(part.ours(ms.Tensor(columns[0])))
        (expected,) = first(part.theirs, *tensors(columns[:1]))
    assert_same({**ours, "hidden_states[-2]": hidden}, {**theirs, "hidden_states[-2]": expected.numpy()}, "CLIP ViT-L")
    assert not any(".layers.2." in name or "final_layer_norm" in name for name in ours), "SDXL does not read them"
    assert len(ours) == 2 + 2 * 11


def test_second_encoders_every_tensor_equals_transformers(
    model: Any, pipe: Any, columns: list[np.ndarray], eager: None
) -> None:
    part = pair(model, pipe, "text_encoder_2")
    names = ("hidden_states[-2]", "pooled")
    with part.trails() as (ours, theirs), torch.no_grad():
        outputs = map(of_mindspore, part.ours(*map(ms.Tensor, columns[1:])))
        expected = (output.numpy() for output in second(part.theirs, *tensors(columns[1:])))
    ours |= zip(names, outputs, strict=True)
    assert_same(ours, theirs | dict(zip(names, expected, strict=True)), "OpenCLIP bigG")
    assert len(ours) == 1 + 3 * 9 + len(names)


def test_context_and_pooled_text_are_the_pipelines(
    model: Any, pipe: Any, columns: list[np.ndarray], eager: None
) -> None:
    with torch.no_grad():
        context, _, pooled, _ = pipe.encode_prompt(list(CAPTIONS), do_classifier_free_guidance=False)
    outputs = map(of_mindspore, model.conditioner.text(*map(ms.Tensor, columns)))
    ours = dict(zip(("context", "pooled"), outputs, strict=True))
    assert_same(ours, {"context": context.numpy(), "pooled": pooled.numpy()}, "captions")


def test_first_encoders_gradients_equal_transformers(
    model: Any, pipe: Any, columns: list[np.ndarray], graph: None
) -> None:
    part = pair(model, pipe, "text_encoder")
    weights = [normal(1, len(CAPTIONS), 77, PRESET.clip_l.width)]
    assert_same_gradients(part, AsTuple(part.ours), lambda *given: first(part.theirs, *given), columns[:1], weights)


def test_second_encoders_gradients_equal_transformers(
    model: Any, pipe: Any, columns: list[np.ndarray], graph: None
) -> None:
    part, width = pair(model, pipe, "text_encoder_2"), PRESET.clip_g.width
    weights = [normal(1, len(CAPTIONS), 77, width), normal(2, len(CAPTIONS), width)]
    assert_same_gradients(part, part.ours, lambda *given: second(part.theirs, *given), columns[1:], weights)
