"""One run's use of the cache: find out what is missing, have it computed, and put the results in the samples' place."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mindloom import UserError

from .fill import Needs, Worker
from .folder import open_folder, open_stores
from .place import Place
from .progress import Progress
from .scan import contents
from .seen import Seen
from .source import CachedSource
from .store import Writer
from .weights import Weights

if TYPE_CHECKING:
    from mindloom.frozen import Frozen
    from mindloom.run import Run


def serve(run: Run, frozen: Frozen, cfg: Any) -> None:
    """Replace ``run.dataset.source`` by one that hands out kept results, all of which are there afterwards.

    Raises:
        UserError: the data cannot be cached, or the folder cannot be used.
        TrainingError: the disk is full, or a result is not a number.
    """
    dataset: Any = run.dataset
    source, world = dataset.source, run.world
    if not hasattr(source, "__getitem__"):
        raise UserError(
            "these samples come as a stream, which cannot be cached: use an indexed format that reads the same files "
            "in its place (--plugins)",
            "data.format",
        )
    token = world.share(uuid.uuid4().hex)
    folder = open_folder(run, cfg.folder, token)
    weights = Weights(frozen, Path(run.cfg.weight).expanduser())
    prints = json.loads(world.share(json.dumps(weights.fingerprints(folder)) if world.is_main else ""))
    stores = open_stores(run, frozen, prints, folder, cfg.dtype)
    place = Place(world, run.cfg.data.workers)
    progress = Progress(run.log if world.is_main else None)
    requests = frozen.requests(dataset.frame_of(0))
    fields = sorted({request.field for request in requests} - {""})
    digests, known = contents(source, fields, Seen(folder, fields), token, place, progress)
    needs = Needs(frozen, fields, digests, known, dataset.frame_of)
    missing = needs.missing(stores)
    if missing:
        run.log.info("cache: %d results for %d samples are missing in %s", len(missing), len(source), folder)
        writers = {part: Writer(store.folder, world.rank, cfg.dtype) for part, store in stores.items()}
        work = Worker(source, dataset.decode, folder, frozen, weights.load, writers, cfg.batch_size, place, progress)
        work(missing)
        place.wait()
    else:
        run.log.info("cache: everything that %d samples need is in %s", len(source), folder)
    names = [request.name for request in requests]

    def look() -> np.ndarray:
        for store in stores.values():
            store.load(run.log, is_main=False)
        return needs.entries(stores, names)

    entries = place.agree(look, lambda found: found >= 0)
    for store in stores.values():
        store.index.clear()
    dataset.source = CachedSource(source, frozen, dataset.decode, requests, stores, entries, dataset.frame_of)
