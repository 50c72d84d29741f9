"""The core's own settings; every plugin adds a section of its own under ``plugins``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def setting(default: Any, text: str) -> Any:
    """A dataclass field with a help text; plugins use it for their ``Config`` too."""
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})


def interval(default: int, text: str) -> Any:
    """A setting that counts steps between two events; who dispatches several steps at once needs to know them all."""
    return field(default=default, metadata={"help": text, "interval": True})


@dataclass
class DeviceConfig:
    """Where the run computes."""

    target: str = setting("CPU", "CPU, GPU or Ascend")
    mode: str = setting("graph", "graph compiles the whole step; pynative runs eagerly, for debugging")
    jit_level: str = setting("", "O0, O1 or O2; empty leaves it to MindSpore")
    compile_cache: str = setting(
        "", "folder that keeps compiled graphs, or off; empty: $MINDLOOM_COMPILE_CACHE, else the user's cache folder"
    )
    max_memory: str = setting("", 'limit of device memory such as "59GB"; empty for none')


@dataclass
class DataConfig:
    """What is trained on."""

    path: str = setting("", "folder, file or pattern that holds the samples")
    mix: list[Any] = setting([], "several places instead: [{path: a, repeats: 2}, {path: b, weight: 0.5}, ...]")
    format: str = setting("", "dataset format; may be left out when only one is on")
    shuffle: bool = setting(True, "another order every epoch, fixed by the seed")
    workers: int = setting(2, "threads that decode and transform samples")
    prefetch: int = setting(4, "batches prepared ahead")
    decoder: str = setting("pillow", "what decodes and resizes pictures: pillow, or vips, which is faster (pyvips)")
    buckets: int = setting(0, "shapes that pictures may be cropped to, chosen for the data set; 0: squares only")
    bucket_step: int = setting(64, "sides of buckets are multiples of this, in pixels")
    bucket_run: int = setting(1, "steps in a row that take pictures of one shape; with sink, a multiple of its size")
    max_broken: float = setting(0.05, "share of the samples, rounded up, that may be broken before the run stops")
    max_pixels: int = setting(100_000_000, "larger pictures count as broken (decompression bombs)")


@dataclass
class OptimConfig:
    """How gradients become updates."""

    lr: float = setting(1e-5, "peak learning rate")
    schedule: str = setting("constant", "constant, linear or cosine decay, each after the warm-up")
    warmup_steps: int = setting(0, "steps in which the learning rate rises from 0")
    betas: list[float] = setting([0.9, 0.999], "AdamW's decay of the first and second moment")
    eps: float = setting(1e-8, "AdamW's guard against division by zero")
    weight_decay: float = setting(0.01, "AdamW's decoupled weight decay")
    decay_norm_and_bias: bool = setting(False, "apply weight decay to vectors (norms and biases) too")
    max_grad_norm: float = setting(1.0, "clip gradients to this global norm; 0 for no clipping")


@dataclass
class Config:
    """The whole config; ``plugins`` holds one typed section for each enabled plugin."""

    max_steps: int = setting(1000, "optimizer steps planned; schedules are laid out over them")
    stop_at: int = setting(0, "end after this step, checkpointed, with everything planned for max_steps; 0: never")
    per_batch_size: int = setting(1, "samples a process takes in one forward pass")
    gradient_accumulation_steps: int = setting(1, "forward passes summed into one optimizer step")
    seed: int = setting(42, "fixes order, crops, noise and initial weights")
    weight: str = setting("", "weights to start from, in the task's own format; empty trains from random weights")
    resume: str = setting("", "latest, the number of a step, or a checkpoint or run folder")
    save_path: str = setting("runs", "where run folders are made")
    save_path_with_time: bool = setting(True, "a new folder named by date and time for each run, or save_path itself")
    log_interval: int = interval(10, "steps between logged records")
    device: DeviceConfig = field(default_factory=DeviceConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    plugins: dict[str, Any] = field(default_factory=dict)


RANGES: dict[str, tuple[float, float]] = {
    "max_steps": (1, 1e9),
    "stop_at": (0, 1e9),
    "per_batch_size": (1, 1e6),
    "gradient_accumulation_steps": (1, 1e6),
    "seed": (0, 2**63 - 1),
    "log_interval": (1, 1e9),
    "data.workers": (1, 1024),
    "data.prefetch": (1, 10_000),
    "data.buckets": (0, 64),
    "data.bucket_step": (8, 1024),
    "data.bucket_run": (1, 1e6),
    "data.max_broken": (0, 1),
    "data.max_pixels": (1, 1e12),
    "optim.lr": (0, 1e3),
    "optim.warmup_steps": (0, 1e9),
    "optim.eps": (0, 1),
    "optim.weight_decay": (0, 1e3),
    "optim.max_grad_norm": (0, 1e9),
}
"""Smallest and largest sensible value of numeric settings."""

CHOICES: dict[str, tuple[str, ...]] = {
    "device.target": ("CPU", "GPU", "Ascend"),
    "device.mode": ("graph", "pynative"),
    "device.jit_level": ("", "O0", "O1", "O2"),
    "data.decoder": ("pillow", "vips"),
    "optim.schedule": ("constant", "linear", "cosine"),
}
"""Settings that take one of a few words."""
