"""What fits and what does not: a file's tensors against a model's, told in one line or in a short table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .shapes import Shapes, models

HARMLESS_SUFFIXES = ("position_ids", "logit_scale")
HARMLESS_PREFIXES = ("model_ema.", "denoiser.", "loss.")
FIRST_NAMES, TABLE_ROWS = 3, 5


def harmless(name: str) -> bool:
    """Whether a file may have this tensor and a model need not: counters, and copies that others trained with."""
    return name.endswith(HARMLESS_SUFFIXES) or name.startswith(HARMLESS_PREFIXES)


@dataclass(frozen=True)
class Misfit:
    """Differences between a model and a file; each entry is a name with its shape or shapes.

    Attributes:
        missing: the model has it, the file does not: name -> shape.
        unexpected: the file has it, the model does not: name -> shape.
        misshapen: name -> what the file and the model say.
    """

    missing: dict[str, str]
    unexpected: dict[str, str]
    misshapen: dict[str, str]

    @property
    def kinds(self) -> list[tuple[str, dict[str, str]]]:
        """What there is, with how it is called."""
        pairs = (("missing", self.missing), ("unexpected", self.unexpected), ("of another shape", self.misshapen))
        return [(kind, names) for kind, names in pairs if names]

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def line(self) -> str:
        """Counts, and the first names of each kind."""
        told = []
        for kind, names in self.kinds:
            first = ", ".join(f"{name} {shape}" for name, shape in list(names.items())[:FIRST_NAMES])
            told.append(f"{len(names)} {kind}: {first}{', ...' if len(names) > FIRST_NAMES else ''}")
        return "; ".join(told)

    def table(self) -> str:
        """The same with more names, one a line."""
        lines = []
        for kind, names in self.kinds:
            shown = list(names.items())[:TABLE_ROWS]
            lines += [f"{len(names)} {kind}", *(f"  {name}  {shape}" for name, shape in shown)]
            if len(names) > len(shown):
                lines.append(f"  ... and {len(names) - len(shown)} more")
        return "\n".join(lines)


def compare(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> Misfit:
    """Differences between what a model wants and what a file holds. Harmless extras are none."""
    return Misfit(
        {name: str(shape) for name, shape in wanted.items() if name not in found},
        {name: str(shape) for name, shape in found.items() if name not in wanted and not harmless(name)},
        {
            name: f"{found[name]} instead of {shape}"
            for name, shape in wanted.items()
            if name in found and found[name] != shape
        },
    )


def nearest(found: Mapping[str, tuple[int, ...]]) -> tuple[str, Misfit]:
    """The known model that shares the most tensors with a file, or ``""`` if none shares any, and the differences."""
    best, most, shapes = "", 0, Shapes()
    for name, wanted in models().items():
        shared = sum(found.get(key) == shape for key, shape in wanted.items())
        if shared > most:
            best, most, shapes = name, shared, wanted
    return best, compare(shapes, found)
