"""What ``mindloom sample`` does once it knows what is asked: loads the networks, draws, and writes files."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mindloom import UserError
from mindloom.grid import grid
from mindloom.snapshots import versions

from .picture_files import save_png
from .preview import Painter, filled
from .progress import Progress
from .task import SdxlTask
from .weights import Leniency, load_weights

if TYPE_CHECKING:
    from mindloom.run import Run

LOG = logging.getLogger("mindloom")
NEEDED = ("model.", "conditioner.", "first_stage_model.decoder.", "first_stage_model.post_quant_conv.")
"""Beginnings of the names of the parameters that drawing computes with."""


@dataclass(frozen=True)
class Wish:
    """What to draw.

    Attributes:
        prompts: one for each picture.
        negative: what guidance moves away from; None for zeros.
        seed, first: picture i has the noise of (seed, first + i).
        steps, scheduler: of the sampler.
        size: height and width in pixels.
        original, crop, target: the micro-conditioning, height before width and top before left.
        batch: pictures drawn at once.
        weights: where they come from.
        noise: initial latents of unit variance ``[n, 4, h, w]`` instead of those of the seed.
        out: a ``.png`` or a folder; None draws no pictures.
        latents_out: a ``.npy`` for the final latents.
    """

    prompts: Sequence[str]
    negative: str | None
    seed: int
    first: int
    steps: int
    scheduler: str
    size: tuple[int, int]
    original: tuple[int, int]
    crop: tuple[int, int]
    target: tuple[int, int]
    batch: int
    weights: Path
    noise: np.ndarray | None
    out: Path | None
    latents_out: Path | None


def load(run: Run, path: Path, half: bool) -> SdxlTask:
    """Build the networks that drawing takes and fill them from a file, tensor by tensor in the dtype asked for."""
    from mindloom import build
    from mindloom.precision import Precision, apply
    from mindspore.nn.utils import no_init_parameters

    with no_init_parameters():
        build.make_task(run)
        build.alter_model(run)
    assert isinstance(run.task, SdxlTask)
    vae = run.task.model.first_stage_model
    del vae.encoder, vae.quant_conv
    if half:
        apply(run.task.model, Precision("float16", "float16", run.task.keep_float32))
    started = time.monotonic()
    load_weights(run.task.model, path, only=NEEDED, leniency=Leniency.of(run.task.cfg))
    for parameter in run.task.model.get_parameters():
        if parameter.has_init:  # missing, which was allowed
            parameter.init_data()
    LOG.info("loaded %s in %.1f s", path, time.monotonic() - started)
    return run.task


def draw(wish: Wish, painter: Painter) -> list[Path]:
    """Draw every picture and write what was asked for; return the files.

    A folder is filled while the work goes on, a sheet and latents come at the end.
    """
    for prompt in wish.prompts:
        painter.tokenizer.encode(prompt)
    if painter.tokenizer.cut:
        LOG.warning("%s", painter.tokenizer.report())
    with ThreadPoolExecutor(1) as aside:
        digest = aside.submit(sha256, wish.weights)  # seconds for a large file, hidden behind the compiler
        progress, written = Progress(len(wish.prompts), wish.batch, wish.steps), list[Path]()
        pictures: list[np.ndarray] = []
        latents: list[np.ndarray] = []
        for place in range(0, len(wish.prompts), wish.batch):
            found = batch(wish, painter, place, progress)
            used = slice(min(wish.batch, len(wish.prompts) - place))
            latents.extend(found[used])
            if wish.out is None:
                continue
            with progress.compiling("the VAE's decoder", place == 0):
                drawn = painter.pixels(found)[used]
            pictures.extend(drawn)
            if wish.out.suffix.lower() != ".png":
                for index, picture in enumerate(drawn, place):
                    written.append(wish.out / f"{wish.first + index:05d}.png")
                    save_png(picture, written[-1], facts(wish, painter, [index], digest.result()))
        progress.close()
        if wish.out is not None and not written:
            sheet = pictures[0] if len(pictures) == 1 else grid(pictures, wish.prompts)
            save_png(sheet, wish.out, facts(wish, painter, range(len(pictures)), digest.result()))
            written.append(wish.out)
    if wish.latents_out is not None:
        with writing(wish.latents_out, "--save_latents"):
            np.save(wish.latents_out, np.stack(latents))
        written.append(wish.latents_out)
    return written


def batch(wish: Wish, painter: Painter, place: int, progress: Progress) -> np.ndarray:
    """Final latents of a whole batch, which begins with the picture at this place."""
    places = range(place, place + wish.batch)
    captions, time_ids = filled(wish.prompts, place, wish.batch), np.array([*wish.original, *wish.crop, *wish.target])
    with progress.compiling("the text encoders", place == 0):
        told = painter.tell(captions, time_ids, wish.negative)
    if wish.noise is None:
        noise = painter.noise(wish.seed, [wish.first + index for index in places], *wish.size)
    else:
        noise = np.stack([wish.noise[min(index, len(wish.noise) - 1)] for index in places])
    steps = painter.steps(told, noise, wish.steps)
    with progress.compiling(f"the UNet for {wish.batch} of {wish.size[1]} x {wish.size[0]}", place == 0):
        latents = next(steps)
    progress.step(place)
    for further in steps:
        latents = further
        progress.step(place)
    return latents


def facts(wish: Wish, painter: Painter, places: Sequence[int], digest: str) -> dict[str, Any]:
    """What makes a picture, or the sheet of several, again."""
    return {
        "prompt": "\n".join(wish.prompts[place] for place in places),
        "negative": wish.negative,
        "seed": wish.seed,
        "index": wish.first + places[0],
        "steps": wish.steps,
        "guidance": painter.guidance,
        "scheduler": wish.scheduler,
        "objective": painter.objective.name,
        "size": list(wish.size[::-1]),
        "original_size": list(wish.original[::-1]),
        "crop": list(wish.crop),
        "target_size": list(wish.target[::-1]),
        "latents_given": wish.noise is not None,
        "weights": wish.weights.name,
        "weights_sha256": digest,
        "versions": versions(),
    }


def sha256(path: Path) -> str:
    """Of a file; empty for a folder."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing(path: Path, flag: str) -> Iterator[None]:
    """Turn what the system refuses into one line."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): choose another {flag}") from None
