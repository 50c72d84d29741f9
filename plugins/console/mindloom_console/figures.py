"""The numbers that are shown: a smoothed loss, the time left, and how both are written."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta


@dataclass
class Smooth:
    """Exponential moving average with bias correction (Kingma & Ba 2015, section 3): the first values count fully.

    Attributes:
        horizon: how many values it averages over, roughly; 1 does not smooth.
        mean, weight: uncorrected average, and 1 - βᵗ.
    """

    horizon: int
    mean: float = 0.0
    weight: float = 0.0

    def add(self, value: float) -> float:
        """Take a value in and return the average."""
        beta = 1 - 1 / self.horizon
        self.mean = beta * self.mean + (1 - beta) * value
        self.weight = beta * self.weight + (1 - beta)
        return self.mean / self.weight


class Pace:
    """Seconds a step takes, over the last hundred dispatches; what comes before the first mark does not count."""

    def __init__(self) -> None:
        self.marks: deque[tuple[int, float]] = deque(maxlen=100)

    def mark(self, step: int, now: float) -> None:
        """Note that ``step`` steps are done at the time ``now``."""
        self.marks.append((step, now))

    def left(self, last_step: int) -> float | None:
        """Seconds until ``last_step`` is done, None before two dispatches are done."""
        if len(self.marks) < 2:
            return None
        (first, start), (step, now) = self.marks[0], self.marks[-1]
        return (last_step - step) * (now - start) / (step - first)


def describe(record: Mapping[str, float], smoothed: float, unit: str) -> dict[str, str]:
    """Write a record's main values, label -> text; what it lacks is left out."""
    texts = {"loss": number(record["loss"]), "smoothed": number(smoothed)}
    if "lr" in record:
        texts["lr"] = f"{record['lr']:.1e}"
    if "grad_norm" in record:
        texts["grad"] = f"{record['grad_norm']:.3g}"
    rate = record.get(f"{unit}_per_second")
    if rate is not None:
        texts[f"{unit}/s"] = f"{rate:.1f}" if rate >= 10 else f"{rate:.2f}"
    return texts


def labelled(texts: Mapping[str, str]) -> list[str]:
    """Put each label to its text: before a value, behind a rate."""
    return [f"{text} {label}" if label.endswith("/s") else f"{label} {text}" for label, text in texts.items()]


def number(value: float) -> str:
    """Four decimals, or an exponent where they would hide the value."""
    return f"{value:.4f}" if 0.001 <= abs(value) < 1000 or value == 0 else f"{value:.3e}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: 0:02:10."""
    return str(timedelta(seconds=round(seconds)))


def counter(step: int, total: int) -> str:
    """``step 40/300``, always equally wide."""
    return f"step {step:>{len(str(total))}}/{total}"
