"""When to measure and when to draw, and what to tell about it."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mindloom import Plugin, UserError, hookimpl
from mindloom.grid import grid
from mindloom.prompts import read_prompts
from mindloom.schema import interval, setting
from PIL import Image

if TYPE_CHECKING:
    from mindloom.averages import Averages
    from mindloom.run import Run
    from mindloom.step import StepResult
    from omegaconf import DictConfig

    from .heldout import HeldOut

FOLDER = "samples"
AVERAGED = ("auto", "true", "false")
TRAINED = ""
"""Whose loss it is, if not that of averaged weights."""


class Validate(Plugin):
    """Held-out loss, and pictures of fixed prompts, before, during and after training."""

    @dataclass
    class Config:
        data_path: str = setting("", "held-out samples, in the format of the training data; empty: no validation loss")
        samples: int = setting(32, "held-out samples used at the most, picked by the seed")
        every: int = interval(0, "steps between measurements; 0: only at start and end")
        prompts: list[str] = setting([], "what to draw; empty: no pictures")
        prompts_file: str = setting(
            "", "more prompts, in a text file: one a line; lines that begin with # are left out"
        )
        pictures_every: int = interval(0, "steps between drawings; 0: only at start and end")
        seed: int = setting(0, "fixes noise and timesteps of the measurement and the noise of the pictures")
        columns: int = setting(4, "pictures in a row of the sheet")
        averaged: str = setting("auto", "use averaged weights (EMA) too: auto when there are any, true, or false")

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.held_out: HeldOut | None = None
        self.first: dict[str, float] = {}
        self.of: dict[str, Any] = {}
        self.now: dict[str, float] = {}
        self.measured_at = self.drawn_at = -1
        self.every = self.pictures_every = 0
        self.prompts: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first, "of": self.of} if self.first else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first, self.of = state["first"], state["of"]

    @hookimpl
    def on_configure(self, cfg: DictConfig) -> None:
        """Refuse settings that make no sense, and samples that are trained on."""
        for key, least in (("samples", 1), ("every", 0), ("pictures_every", 0), ("seed", 0), ("columns", 1)):
            if self.cfg[key] < least:
                raise UserError(f"{self._key(key)} must be at least {least}, not {self.cfg[key]}", self._key(key))
        if self.cfg.averaged.lower() not in AVERAGED:
            key = self._key("averaged")
            raise UserError(f"{key} must be one of {', '.join(AVERAGED)}, not {self.cfg.averaged!r}", key)
        self.prompts = list(self.cfg.prompts)
        if self.cfg.prompts_file:
            self.prompts += read_prompts(self.cfg.prompts_file, self._key("prompts_file"))
        if not self.cfg.data_path and not self.prompts:
            raise UserError(f"{self.name} has nothing to do: set {self._key('data_path')} or {self._key('prompts')}")
        if self.cfg.data_path:
            self._check_held_out(Path(self.cfg.data_path).expanduser(), Path(cfg.data.path).expanduser())

    def _key(self, key: str) -> str:
        return f"plugins.{self.name}.{key}"

    def _check_held_out(self, held_out: Path, trained_on: Path) -> None:
        key = self._key("data_path")
        if not held_out.exists():
            raise UserError(f"there are no held-out samples at {held_out}: check {key}", setting=key)
        # Formats read sub-folders, so one inside the other means samples that are in both.
        inner, outer = held_out.resolve(), trained_on.resolve()
        if str(trained_on) != "." and (inner.is_relative_to(outer) or outer.is_relative_to(inner)):
            raise UserError(
                f"the held-out samples {held_out} and the training data {trained_on} overlap, so training would see "
                f"what it is measured on: move them apart, or check {key}",
                setting=key,
            )

    @hookimpl
    def on_train_start(self, run: Run) -> None:
        """Read the held-out samples; measure and draw what there is before training.

        Raises:
            UserError: averaged weights are asked for and there are none, or no held-out sample can be read.
        """
        if self.cfg.averaged.lower() == "true" and run.averages is None:
            key = self._key("averaged")
            raise UserError(f"{key} is true, but no plugin averages the weights: switch one on, or set it to auto", key)
        if not run.world.is_main:
            return
        # Read once: looking a setting up takes ten microseconds, at every dispatch.
        self.every, self.pictures_every = self.cfg.every, self.cfg.pictures_every
        if self.cfg.data_path:
            self._open(run)
            run.cache_graphs(run.task.loss, together=False)
            assert self.held_out is not None
            of = {"data_path": self.cfg.data_path, "samples": self.held_out.samples, "seed": self.cfg.seed}
            if of != self.of:  # a fresh run, or one that resumes with other held-out samples
                self.of = of
                self._measure(run)
                self.first = {"loss": self.now[TRAINED], "step": run.step}
        if run.step == 0:
            self._draw(run)

    @hookimpl
    def on_step_end(self, run: Run, result: StepResult) -> None:
        """Measure and draw when it is due."""
        if not run.world.is_main:
            return
        if run.due(self.every, result.n):
            self._measure(run)
        if run.due(self.pictures_every, result.n):
            self._draw(run)

    @hookimpl
    def on_train_end(self, run: Run) -> None:
        """Measure and draw the result, and sum up, unless somebody waits for the process to end."""
        if not run.world.is_main or run.signal:
            return
        self._measure(run)
        self._draw(run)
        parts = [self._summary()] if self.held_out else []
        parts += [f"pictures: {run.path / FOLDER}"] if self.drawn_at >= 0 else []
        if parts:
            run.log.info("; ".join(parts))

    def _averages(self, run: Run) -> Averages | None:
        """The averaged weights to use, if any."""
        return None if self.cfg.averaged.lower() == "false" else run.averages

    def _summary(self) -> str:
        assert self.held_out is not None
        before = self.first["loss"]
        since = f" since step {self.first['step']}" if self.first["step"] else ""
        on = f"on {self.held_out.samples} held-out samples{since}"
        return f"validation loss {before:.4f} -> {told(self.now, before)} {on}"

    def _open(self, run: Run) -> None:
        from mindloom.data.opening import open_source
        from mindloom.images import decoder

        from .heldout import prepare

        key, cfg = self._key("data_path"), run.cfg
        source = open_source(run, self.cfg.data_path, key)
        decode = decoder(cfg.data.decoder, cfg.data.max_pixels)
        try:
            self.held_out = prepare(
                source, run.task, self.cfg.seed, self.cfg.samples, cfg.per_batch_size, decode, run.log
            )
        except UserError as error:
            raise UserError(f"{error}: check {key}", setting=key) from error
        left_over, count = self.held_out.left_over, len(self.held_out.batches)
        rest = f" ({left_over} left over, which fill no batch)" if left_over else ""
        run.log.info("validating on %d held-out samples in %d batches%s", self.held_out.samples, count, rest)

    def _measure(self, run: Run) -> None:
        if self.held_out is None or self.measured_at == run.step:
            return
        self.now, self.measured_at = {TRAINED: self.held_out.loss(run.task.loss)}, run.step
        averages = self._averages(run)
        if averages is not None:
            with averages.shown():
                self.now[averages.name] = self.held_out.loss(run.task.loss)
        run.log.info("step %d: validation loss %s", run.step, told(self.now))
        run.publish(values={f"{self.name}/loss" + (f"_{of}" if of else ""): loss for of, loss in self.now.items()})

    def _draw(self, run: Run) -> None:
        if not self.prompts or self.drawn_at == run.step:
            return
        started = time.monotonic()
        averages = self._averages(run)
        with averages.shown() if averages else nullcontext():
            pictures = run.task.preview(self.prompts, self.cfg.seed)
        if pictures is None:
            run.log.warning(
                "no pictures: this task draws none, or not in this run, which keeps no encoders; remove %s",
                self._key("prompts" if self.cfg.prompts else "prompts_file"),
            )
            self.prompts = []  # told once
            return
        self.drawn_at = run.step
        sheet = grid(pictures, self.prompts, self.cfg.columns)
        path = run.path / FOLDER / f"step-{run.step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(sheet).save(path)
        seconds = time.monotonic() - started
        which = f" by {averages.name}" if averages else ""
        run.log.info("step %d: drew %d pictures%s in %.1f s: %s", run.step, len(pictures), which, seconds, path)
        run.publish(images={f"{self.name}/samples": sheet})


def told(losses: dict[str, float], before: float = 0.0) -> str:
    """Such as ``0.1042 (-51 %), with ema 0.1010 (-53 %)``: the change since ``before``, where that is not 0."""
    return ", ".join(
        (f"with {of} " if of else "") + f"{loss:.4f}" + (f" ({100 * (loss / before - 1):+.0f} %)" if before else "")
        for of, loss in losses.items()
    )
