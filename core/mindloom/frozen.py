"""The part of a task's loss that never trains, whose results can therefore be kept instead of computed every time.

A task that has such a part returns a :class:`Frozen` from ``Task.frozen()``. Whoever keeps results asks it what a
sample needs, has it computed once, and hands the results back in the samples: neither side knows the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Arrays = dict[str, "np.ndarray"]

Kept = Callable[[str], Arrays]
"""``sample["kept"](name)`` gives the results of the request of that name; a task asks only for what it draws."""

Decode = Callable[[bytes], Any]
"""Picture file to picture, as the core's loader does it; raises ``ValueError``."""


@dataclass(frozen=True)
class Part:
    """A function without trainable parameters.

    Attributes:
        settings: JSON; whatever changes a result besides the weights, the request's variant and the content.
        pictures: its content is picture files, so the decoder changes results too.
    """

    settings: Mapping[str, Any]
    pictures: bool = False


@dataclass(frozen=True)
class Request:
    """A result that some draw may need of a sample.

    Attributes:
        name: how ``sample["kept"]`` knows it.
        part: who computes it.
        field: key of the raw sample whose value is the content; empty: the content is "", for every sample alike.
        variant: tells apart results of one content, and results of different shapes.
    """

    name: str
    part: str
    field: str = ""
    variant: str = ""


class Frozen(ABC):
    """The frozen parts of one task.

    Attributes:
        parts: by name.
    """

    parts: Mapping[str, Part]

    @abstractmethod
    def requests(self, frame: tuple[int, int] | None) -> Sequence[Request]:
        """Everything that any draw may need of a sample with this ``sample["frame"]``. Names and parts never vary."""

    @abstractmethod
    def load(self, path: Path) -> None:
        """Fill the parameters of the frozen parts, and no others, from a file or folder.

        Raises:
            UserError: names or shapes do not fit.
        """

    @abstractmethod
    def fingerprint(self, part: str) -> str:
        """Hash the names and bytes of a part's parameters, which have been loaded."""

    @abstractmethod
    def row(self, request: Request, content: Any, decode: Decode) -> Arrays:
        """Prepare one content for ``encode``, without a batch axis. Called from several threads at once.

        Raises:
            ValueError: the content is broken.
        """

    @abstractmethod
    def encode(self, part: str, rows: Sequence[Arrays]) -> list[Arrays]:
        """Compute the results of rows of one variant, each without a batch axis.

        A result depends on its own row and the number of rows only. Each number of rows and variant compiles once.
        """

    @abstractmethod
    def switch(self) -> None:
        """From now on the task's samples hold ``kept`` instead of contents: loss, columns and transform change."""

    @abstractmethod
    def drop(self, advice: str) -> None:
        """Free the frozen parts after ``switch``: their parameters leave the model, the disk is never asked for them.

        Args:
            advice: how to keep them, for whoever needs them later.
        """
