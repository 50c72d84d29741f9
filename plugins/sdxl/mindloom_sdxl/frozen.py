"""VAE and text encoders as what never trains: their results for a sample, computed apart from the training step."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mindspore as ms
import numpy as np
from mindloom import UserError
from mindloom.framing import frame, mirrored
from mindloom.frozen import Arrays, Decode, Frozen, Kept, Part, Request
from mindloom.task import Draw, Sample
from mindspore import nn

from .cells.model import SDXLModel
from .objective import KeptLoss
from .presets import Preset
from .tokens import LENGTH
from .transform import Transform, named
from .weights import Leniency, load_weights

if TYPE_CHECKING:
    from .task import SdxlTask

FROZEN = ("conditioner.", "first_stage_model.")
NEEDED = {
    "picture": ("first_stage_model.encoder.", "first_stage_model.quant_conv."),
    "caption": ("conditioner.",),
}
"""Beginnings of the names of the parameters that each part computes with."""

KEPT_COLUMNS = ("mean", "logvar", "context", "pooled", "time_ids", "timesteps", "noise", "vae_noise")
"""The batch's columns when features are kept. The posterior itself is, so that it is sampled anew every time."""


class EncodePicture(nn.Cell):
    """Pixels uint8 ``[B, 3, H, W]`` -> mean and logvar ``[B, 4, H/8, W/8]`` of the VAE's posterior."""

    def __init__(self, model: SDXLModel) -> None:
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, pixels: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        return self.model.first_stage_model(pixels.astype(ms.float32) / 127.5 - 1.0)


class EncodeCaption(nn.Cell):
    """ids_1, ids_2 int32 ``[B, 77]``, eot_index ``[B]`` -> context ``[B, 77, c]`` and pooled ``[B, p]``.

    Captions in chunks as in :class:`Conditioner`.
    """

    def __init__(self, model: SDXLModel) -> None:
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, ids_1: ms.Tensor, ids_2: ms.Tensor, eot_index: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        return self.model.conditioner.text(ids_1, ids_2, eot_index)


class Twice(nn.Cell):
    """A graph without parameters."""

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return x + x


ENCODERS: dict[str, Callable[[SDXLModel], nn.Cell]] = {"picture": EncodePicture, "caption": EncodeCaption}


@dataclass(frozen=True)
class KeptTransform:
    """Rows of ``KEPT_COLUMNS``: the same draws as without kept features choose among them.

    Attributes:
        plain: what the draws are taken from.
        now: computes the features of a sample that brings none.
    """

    plain: Transform
    now: Callable[[Sample], Kept]

    def __call__(self, sample: Sample, draw: Draw) -> Arrays:
        """mean, logvar, noise and vae_noise float32 ``[4, h, w]``; context ``[n, c]``; pooled ``[p]``."""
        kept: Kept = sample.get("kept") or self.now(sample)
        picture = kept("mirrored" if mirrored(draw, self.plain.flip) else "picture")
        dropped, zeroed = self.plain.dropped(draw), self.plain.zeroed
        caption = kept("empty" if dropped and not zeroed else "caption")
        if dropped and zeroed:  # here rather than in the graph, which needs no column for it
            caption = {name: np.zeros_like(array) for name, array in caption.items()}
        height, width = picture["mean"].shape[1:]
        return {
            "mean": picture["mean"],
            "logvar": picture["logvar"],
            "context": caption["context"],
            "pooled": caption["pooled"],
            "time_ids": picture["time_ids"].astype(np.float32),
            **self.plain.chance(height, width, draw),
        }


def kept_example(preset: Preset, chunks: int) -> Arrays:
    """Zeros in the shapes of features."""
    return {
        "context": np.zeros((LENGTH * chunks, preset.unet.context_dim), np.float32),
        "pooled": np.zeros(preset.clip_g.width, np.float32),
    }


class SdxlFrozen(Frozen):
    """See :class:`mindloom.frozen.Frozen`. time_ids travel with the picture, for the crop is part of its features."""

    def __init__(self, task: SdxlTask) -> None:
        self.task, self.advice, self.compiled = task, "", False
        self.cells: dict[str, nn.Cell] = {}
        preset, tokenizer = task.model.preset, task.tokenizer
        text = {
            "clip_l": asdict(preset.clip_l),
            "clip_g": asdict(preset.clip_g),
            "tokenizer": tokenizer.fingerprint if tokenizer else "",
            "chunks": task.chunks,
        }
        self.parts = {"picture": Part({"vae": asdict(preset.vae)}, pictures=True), "caption": Part(text)}

    def requests(self, frame: tuple[int, int] | None) -> Sequence[Request]:
        """Of each picture and caption what the probabilities of flip and dropout leave possible."""
        cfg, side, zeroed = self.task.cfg, self.task.resolution, self.task.zeroed
        shape = "{}x{}".format(*(frame or (side, side)))
        found = [
            (cfg.flip < 1, Request("picture", "picture", "image", shape)),
            (cfg.flip > 0, Request("mirrored", "picture", "image", f"{shape} mirrored")),
            (cfg.caption_dropout < 1 or zeroed, Request("caption", "caption", "caption")),
            (cfg.caption_dropout > 0 and not zeroed, Request("empty", "caption")),
        ]
        return [request for possible, request in found if possible]

    def load(self, path: Path) -> None:
        """Fill encoders, not the VAE's decoder."""
        load_weights(
            self.task.model, path, (*NEEDED["picture"], *NEEDED["caption"]), leniency=Leniency.of(self.task.cfg)
        )

    def fingerprint(self, part: str) -> str:
        """SHA-256 of names and bytes, in the model's order."""
        digest = hashlib.sha256()
        for name, parameter in self.task.model.parameters_and_names():
            if name.startswith(NEEDED[part]):
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(parameter.asnumpy()).data)
        return digest.hexdigest()

    def row(self, request: Request, content: Any, decode: Decode) -> Arrays:
        """Pixels and time_ids of a picture, tokens of a caption."""
        if request.part == "caption":
            assert self.task.tokenizer is not None
            return self.task.tokenizer.encode(content)._asdict()
        shape, _, mirror = request.variant.partition(" ")
        height, width = map(int, shape.split("x"))
        framed = frame(decode(content), height, width, certain, flip=float(bool(mirror)))
        time_ids = np.array([*framed.original, *framed.corner, height, width], np.int32)
        return {"pixels": framed.pixels, "time_ids": time_ids}

    def encode(self, part: str, rows: Sequence[Arrays]) -> list[Arrays]:
        """mean, logvar and time_ids of pictures; context and pooled of captions."""
        if part not in self.cells:
            self.cells[part] = ENCODERS[part](self.task.model).set_train(False)
            self.task.watch(self.cells[part])
            self.compiled = True
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        times = stacked.pop("time_ids", None)
        first, second = (out.asnumpy() for out in self.cells[part](*(ms.Tensor(a) for a in stacked.values())))
        if times is None:
            return [{"context": a, "pooled": b} for a, b in zip(first, second, strict=True)]
        return [{"mean": a, "logvar": b, "time_ids": c} for a, b, c in zip(first, second, times, strict=True)]

    def switch(self) -> None:
        """Train on ``KEPT_COLUMNS``."""
        task = self.task
        # Cells may be replaced and parameters lowered from here on: what was compiled before must not be used again.
        self.cells = {}
        task.loss, task.columns = KeptLoss(task.model, task.objective), named(KEPT_COLUMNS, task.levels)
        if task.tokenizer is not None:
            assert isinstance(task.row, Transform)
            task.row = KeptTransform(task.row, self.now)

    def drop(self, advice: str) -> None:
        """Leave only the UNet."""
        self.advice, self.task.previewer = advice, None
        del self.task.model.conditioner
        del self.task.model.first_stage_model
        if self.compiled:  # MindSpore holds the parameters of the last graph until it compiles another one
            Twice()(ms.Tensor(1.0))
        gc.collect()  # parameters refer to themselves in circles, and these are gigabytes

    def now(self, sample: Sample) -> Kept:
        """Compute the features of a sample that brings none, such as a held-out one; for one thread at a time.

        Raises:
            UserError: the encoders were dropped.
        """
        if self.advice:
            raise UserError(
                f"features of samples other than the training data are needed, but the encoders were dropped: "
                f"{self.advice}"
            )
        requests = {request.name: request for request in self.requests(sample.get("frame"))}

        def kept(name: str) -> Arrays:
            request = requests[name]
            content = sample[request.field] if request.field else ""
            return self.encode(request.part, [self.row(request, content, decoded)])[0]

        return kept


def certain(purpose: str) -> np.random.Generator:
    """Randomness for decisions of probability 0 or 1."""
    return np.random.default_rng(0)


def decoded(picture: Any) -> Any:
    """Leave a picture as it is."""
    return picture
