"""The data set as training sees it: every sample hands out its kept results instead of contents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from mindloom.formats import SampleError

from .seen import digest

if TYPE_CHECKING:
    from mindloom.frozen import Arrays, Decode, Frozen, Request

    from .store import Store


class CachedSource:
    """``{"id": str, "kept": name -> arrays}`` for each index; a sample that lacks a result is broken.

    Args:
        source: the samples themselves; asked only for what is broken, to say why.
        requests: of any sample; names and parts are those of all.
        entries: int64 ``[samples, requests]``, numbers in the stores; -1 for what is missing.
    """

    def __init__(
        self, source: Any, frozen: Frozen, decode: Decode, requests: Sequence[Request],
        stores: Mapping[str, Store], entries: np.ndarray, frame_of: Callable[[int], tuple[int, int] | None],
    ) -> None:  # fmt: skip
        self.source, self.frozen, self.decode, self.frame_of = source, frozen, decode, frame_of
        self.columns = {request.name: (column, stores[request.part]) for column, request in enumerate(requests)}
        self.entries = entries
        self.broken = (entries < 0).any(1)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.broken[index]:
            self._explain(index)
        return {"id": f"#{index}", "kept": partial(self.kept, index)}

    def kept(self, index: int, name: str) -> Arrays:
        """Read one result of one sample."""
        column, store = self.columns[name]
        return store.read(int(self.entries[index, column]))

    def _explain(self, index: int) -> None:
        """Raise what the sample would raise without the cache."""
        sample = self.source[index]
        for request in self.frozen.requests(self.frame_of(index)):
            try:
                content = sample[request.field] if request.field else ""
                digest(content)
                self.frozen.row(request, content, self.decode)
            except ValueError as error:
                raise SampleError(str(error), str(sample.get("id", "")), str(sample.get("where", ""))) from error
        raise SampleError("it could not be read when features were computed", str(sample.get("id", "")))

    def close(self) -> None:
        """Close the samples themselves."""
        if hasattr(self.source, "close"):
            self.source.close()
