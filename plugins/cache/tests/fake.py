"""A frozen part made of NumPy, samples in memory and a run around them: what the cache needs, without a model."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from mindloom import TrainingError, UserError
from mindloom.frozen import Arrays, Decode, Frozen, Part, Request
from mindloom.world import World
from mindloom_cache.session import serve


class Doubler(Frozen):
    """Doubles the numbers of an "image" and measures captions; counts everything that it is asked to do."""

    def __init__(self, mirror: bool = False) -> None:
        self.parts = {"picture": Part({"version": 1}, pictures=True), "caption": Part({"words": "all"})}
        self.mirror, self.loads, self.encoded, self.sizes = mirror, 0, 0, set()
        self.weights = b""

    def requests(self, frame: tuple[int, int] | None) -> Sequence[Request]:
        """One picture, mirrored too if it may be, and captions."""
        shape = str(frame or "square")
        found = [Request("picture", "picture", "image", shape), Request("caption", "caption", "caption")]
        return [*found, Request("mirrored", "picture", "image", f"{shape} mirrored")] if self.mirror else found

    def load(self, path: Path) -> None:
        self.loads += 1
        self.weights = path.read_bytes()

    def fingerprint(self, part: str) -> str:
        return hashlib.sha256(self.weights + part.encode()).hexdigest()

    def row(self, request: Request, content: Any, decode: Decode) -> Arrays:
        if request.part == "caption":
            return {"length": np.array(len(content), np.int32)}
        return {"numbers": decode(content)[:: -1 if request.variant.endswith("mirrored") else 1]}

    def encode(self, part: str, rows: Sequence[Arrays]) -> list[Arrays]:
        assert self.loads
        self.encoded += len(rows)
        self.sizes.add(len(rows))
        if part == "caption":
            return [{"length": row["length"] * 1.0} for row in rows]
        return [{"twice": row["numbers"] * np.float32(2), "place": np.arange(2)} for row in rows]

    def switch(self) -> None: ...

    def drop(self, advice: str) -> None: ...


class Samples:
    """Indexed samples that remember which of them were read."""

    def __init__(self, count: int) -> None:
        self.images = [np.arange(6, dtype=np.float32).tobytes() + bytes([index] * 4) for index in range(count)]
        self.captions = [f"number {index}" for index in range(count)]
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.read.append(index)
        return {"image": self.images[index], "caption": self.captions[index], "id": f"id-{index}", "where": "memory"}


class Stamped(Samples):
    """The same with stamps."""

    def stamp(self, index: int) -> str:
        return f"{index} {hash((self.images[index], self.captions[index]))}"


def decode(data: bytes) -> np.ndarray:
    """Numbers from bytes."""
    if len(data) % 4:
        raise ValueError("cut short")
    return np.frombuffer(data, np.float32)


def cached(folder: Path, source: Any, frozen: Frozen, world: World | None = None, **settings: Any) -> Any:
    """Serve the samples from a cache in ``folder``; return what the run reads then."""
    folder.mkdir(exist_ok=True)
    weight = folder / "weights"
    if not weight.exists():
        weight.write_bytes(b"good weights")
    data = SimpleNamespace(workers=2, decoder="pillow", format="fake")
    dataset = SimpleNamespace(source=source, decode=decode, frame_of=lambda index: None)
    run: Any = SimpleNamespace(
        cfg=SimpleNamespace(data=data, weight=str(weight)),
        dataset=dataset,
        world=world or World(),
        log=logging.getLogger("mindloom"),
    )
    cfg = SimpleNamespace(**{"folder": str(folder / "cache"), "batch_size": 3, "dtype": "float32", **settings})
    serve(run, frozen, cfg)
    return dataset.source


@dataclass(frozen=True)
class Pair(World):
    """Two processes played by two threads."""

    barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(2))
    said: list[object] = field(default_factory=list)

    def share(self, text: str) -> str:
        if self.rank == 0:
            self.said[:] = [text]
        self.barrier.wait(20)
        told = self.said[0]
        self.barrier.wait(20)
        return str(told)

    def any(self, flag: bool) -> bool:
        self.said.append(flag)
        self.barrier.wait(20)
        told = any(word is True for word in self.said)
        self.barrier.wait(20)
        return told


def two(task: Callable[[World], Any]) -> list[Any]:
    """Call ``task(world)`` on both ranks; return results or errors."""
    barrier, said, out = threading.Barrier(2), [], [None, None]  # type: ignore[var-annotated]

    def work(rank: int) -> None:
        try:
            out[rank] = task(Pair(rank, 2, barrier, said))
        except BaseException as error:
            out[rank] = error
            if not isinstance(error, UserError | TrainingError):
                barrier.abort()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    [thread.start() for thread in threads]
    [thread.join(30) for thread in threads]
    return out
