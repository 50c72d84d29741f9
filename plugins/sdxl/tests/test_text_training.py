"""Text encoders that train get the gradients of transformers' on PyTorch, and only what is read of them trains."""

# ruff: noqa: E402  (what judges may be missing, and must be asked for before the helper imports it)

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from mindspore import ops as P

torch = pytest.importorskip("torch", reason="parity is judged by PyTorch")
transformers = pytest.importorskip("transformers", reason="parity is judged by transformers")

from mindloom import UserError
from mindloom.images import PillowPicture
from mindloom_sdxl import Sdxl
from mindloom_sdxl.cells.conditioner import Conditioner
from mindloom_sdxl.cells.init import fill_random
from mindloom_sdxl.presets import PRESETS, TINY, TextConfig
from mindloom_sdxl.task import SdxlTask
from mindloom_sdxl.tokens import TINY_ASSETS
from PIL import Image

Arrays = dict[str, np.ndarray]
CHUNKS = 2
CAPTIONS = ("a red circle", "a teal star " * 40, "dropped")
DROPPED = np.array([1, 1, 0], np.float32)
UNET = replace(TINY.unet, channels=16, mult=(1,), res_blocks=0, depths=(1,), middle_depth=0)
MICRO = replace(TINY, name="micro", unet=UNET, clip_l=replace(TINY.clip_l, layers=3), resolution=64)
FIRST, SECOND = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."


@pytest.fixture(scope="module", autouse=True)
def _micro() -> Iterator[None]:
    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "micro", MICRO)
        yield


def made(**settings: Any) -> SdxlTask:
    return SdxlTask(Sdxl.Config(preset="micro", tokenizer=str(TINY_ASSETS), **settings))


class Weigh(nn.Cell):
    """In the place of the UNet: answers with one number for each sample, from everything that text becomes."""

    def __init__(self, context: np.ndarray, pooled: np.ndarray) -> None:
        super().__init__()
        vector = np.concatenate((pooled, np.zeros(6 * TINY.size_dim, np.float32)))
        self.context, self.vector = ms.Tensor(context), ms.Tensor(vector)
        self.sum, self.reshape = P.ReduceSum(), P.Reshape()

    def construct(self, latents: ms.Tensor, timesteps: ms.Tensor, context: ms.Tensor, vector: ms.Tensor) -> ms.Tensor:
        text = self.sum(context * self.context, (1, 2)) + self.sum(vector * self.vector, 1)
        return 0 * latents + self.reshape(text, (-1, 1, 1, 1))


def config(ours: TextConfig, activation: str) -> Any:
    return transformers.CLIPTextConfig(
        vocab_size=ours.vocabulary,
        hidden_size=ours.width,
        intermediate_size=4 * ours.width,
        projection_dim=ours.width,
        num_hidden_layers=ours.layers,
        num_attention_heads=ours.heads,
        max_position_embeddings=ours.length,
        hidden_act=activation,
        eos_token_id=ours.eot_id,
    )


OPENCLIP = {
    "token_embedding": "embeddings.token_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "transformer.resblocks": "encoder.layers",
    "ln_final": "final_layer_norm",
    "ln_": "layer_norm",
    "c_fc": "fc1",
    "c_proj": "fc2",
    "attn.": "self_attn.",
}


def openclip(arrays: Arrays) -> Arrays:
    """As transformers has them: packed projections split, ``text_projection`` turned around, no ``logit_scale``."""
    found = {}
    for name, value in arrays.items():
        named = "text_model." + name
        for old, new in OPENCLIP.items():
            named = named.replace(old, new)
        if name == "text_projection":
            found["text_projection.weight"] = value.T
        elif "in_proj_" in name:
            for letter, third in zip("qkv", np.split(value, 3), strict=True):
                found[named.replace("in_proj_", f"{letter}_proj.")] = third
        elif name != "logit_scale":
            found[named] = value
    return found


def beginning(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def theirs(arrays: Arrays) -> tuple[Any, Any, str]:
    """Both encoders of transformers with the same weights, and what the first one's names lack."""
    first = transformers.CLIPTextModel(config(MICRO.clip_l, "quick_gelu"))
    second = transformers.CLIPTextModelWithProjection(config(MICRO.clip_g, "gelu"))
    prefix = FIRST if hasattr(first, "text_model") else FIRST + "text_model."  # as transformers' version has it
    for module, found in ((first, beginning(prefix, arrays)), (second, openclip(beginning(SECOND, arrays)))):
        state = {name: torch.tensor(np.ascontiguousarray(array)) for name, array in found.items()}
        report = module.load_state_dict(state, strict=False)
        assert not report.unexpected_keys, report
        assert all(name.endswith("position_ids") for name in report.missing_keys), report
    return first, second, prefix


def assert_gradients(ours: Arrays, module: Any) -> None:
    """Within 1e-4 of a tensor's largest number. That of a key's bias is 0 but for rounding: the softmax cancels it."""
    judged = {name: param.grad.numpy() for name, param in module.named_parameters() if param.grad is not None}
    assert ours.keys() == judged.keys()
    for name, expected in judged.items():
        largest = np.abs(judged[name.replace("k_proj.bias", "k_proj.weight")]).max()
        assert largest > 0, name
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=1e-4 * largest, err_msg=name)


def test_gradients_of_both_encoders_equal_transformers_in_chunks_and_with_zeros_for_dropped_captions() -> None:
    task = made(
        train_text_encoder="both", long_captions=True, caption_chunks=CHUNKS, dropout_form="zeros", caption_dropout=0.5
    )
    fill_random(task.model.conditioner)
    arrays = {param.name: param.asnumpy() for param in task.model.conditioner.get_parameters()}
    picture = PillowPicture(Image.new("RGB", (64, 64), "grey"))

    def draw(purpose: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(purpose.encode()))

    rows = [task.transform({"image": picture, "caption": caption}, draw) for caption in CAPTIONS]
    columns = {name: np.stack([row[name] for row in rows]) for name in task.columns} | {"told": DROPPED}
    generator = np.random.default_rng(3)
    of_context = generator.normal(0, 0.1, (77 * CHUNKS, 64)).astype(np.float32)
    of_pooled = generator.normal(0, 0.1, 32).astype(np.float32)
    task.loss.predict = Weigh(of_context, of_pooled)
    params = [param for param in task.model.trainable_params() if param.name.startswith("conditioner.")]
    value, gradients = ms.value_and_grad(task.loss, None, params)(*(ms.Tensor(column) for column in columns.values()))

    first, second, prefix = theirs(arrays)
    ids_1, ids_2 = (torch.tensor(columns[name]).long().reshape(-1, 77) for name in ("ids_1", "ids_2"))
    out = second(ids_2, output_hidden_states=True)
    hidden = first(ids_1, output_hidden_states=True).hidden_states[-2]
    context = torch.cat([hidden, out.hidden_states[-2]], -1).reshape(len(CAPTIONS), 77 * CHUNKS, -1)
    pooled = out.text_embeds.reshape(len(CAPTIONS), CHUNKS, -1)[:, 0]
    text = (context * torch.tensor(of_context)).sum((1, 2)) + (pooled * torch.tensor(of_pooled)).sum(1)
    expected = ((text * torch.tensor(DROPPED))[:, None, None, None] - torch.tensor(columns["noise"])).square().mean()
    expected.backward()
    assert float(value.asnumpy()) == pytest.approx(expected.item(), rel=1e-5)

    found = {param.name: gradient.asnumpy() for param, gradient in zip(params, gradients, strict=True)}
    assert_gradients(beginning(prefix, found), first)
    assert_gradients(openclip(beginning(SECOND, found)), second)


@pytest.mark.parametrize(
    ("setting", "prefixes"),
    [("none", ()), ("clip_l", (FIRST,)), ("clip_g", (SECOND,)), ("both", (FIRST, SECOND))],
)
def test_only_what_is_read_of_the_chosen_encoders_trains(setting: str, prefixes: tuple[str, ...]) -> None:
    task = made(train_text_encoder=setting)
    trained = {param.name for param in task.model.trainable_params()}
    assert {name for name in trained if name.startswith("model.")} == {
        param.name for param in task.model.model.get_parameters()
    }
    text = {name for name in trained if not name.startswith("model.")}
    assert {name for name in text if name.startswith(prefixes)} == text
    assert all(any(name.startswith(prefix) for name in text) for prefix in prefixes)
    assert not any(".layers.2." in name or "final_layer_norm" in name or "logit_scale" in name for name in text)


def test_features_of_encoders_that_train_cannot_be_kept() -> None:
    with pytest.raises(UserError, match=r"set plugins\.sdxl\.train_text_encoder=none") as caught:
        made(train_text_encoder="clip_l").frozen()
    assert caught.value.setting == "plugins.sdxl.train_text_encoder"


def test_chunks_are_encoded_one_by_one_and_pooled_from_the_first() -> None:
    conditioner = Conditioner(MICRO)
    fill_random(conditioner)
    draw = np.random.default_rng(0)
    ids_1, ids_2 = (draw.integers(0, 1022, (2, 3, 77)).astype(np.int32) for _ in range(2))
    eot, sizes = draw.integers(0, 77, (2, 3)).astype(np.int32), draw.integers(0, 99, (2, 6)).astype(np.float32)
    context, vector = (out.asnumpy() for out in conditioner(*map(ms.Tensor, (ids_1, ids_2, eot, sizes))))
    assert context.shape == (2, 3 * 77, 64)
    for place in range(3):
        columns = (ids_1[:, place], ids_2[:, place], eot[:, place], sizes)
        alone, vector_alone = (out.asnumpy() for out in conditioner(*map(ms.Tensor, columns)))
        np.testing.assert_allclose(context[:, 77 * place : 77 * (place + 1)], alone, atol=1e-5)
        assert np.allclose(vector, vector_alone, atol=1e-5) == (place == 0)
