"""Every sample of a data set in its order, looked at by threads: what is fine with it, and what is broken."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..data.opening import is_stream
from ..errors import UserError
from ..formats import RawSample, SampleError, Source, Stream
from ..images import Decode

AHEAD = 4
"""Samples waiting for each thread: their files are all that is held in memory."""


@dataclass(frozen=True)
class Broken:
    """A sample that cannot be used: which, why, and where it lies, as far as that is known."""

    id: str
    reason: str
    where: str


@dataclass(frozen=True)
class Good:
    """A sample that can be used.

    Attributes:
        sample: as the format delivered it.
        id: its name; ``#`` and its number if it has none.
        size: width and height of the upright picture.
        digest: of the bytes of the picture's file: half a SHA-256, enough to tell a million pictures apart.
    """

    sample: RawSample
    id: str
    size: tuple[int, int]
    digest: bytes


Fetch = Callable[[], RawSample | SampleError]


def look(number: int, fetch: Fetch, decode: Decode) -> Good | Broken:
    """Read and decode one sample.

    Whatever goes wrong is what is wrong with the sample: a format of a third party may fail in any way, and who checks
    a data set wants to hear of all the samples.
    """
    id, where = f"#{number}", ""
    try:
        sample = fetch()
        if isinstance(sample, SampleError):
            raise sample
        id, where = str(sample.get("id", id)), str(sample.get("where", ""))
        caption, data = sample["caption"], sample["image"]
        if not isinstance(caption, str):
            raise ValueError(f"its caption is not text but {type(caption).__name__}")
        picture = decode(data)
        picture.pixels()  # some damage shows only now
        return Good(sample, id, (picture.width, picture.height), hashlib.sha256(data).digest()[:16])
    except SampleError as error:
        return Broken(error.id or id, _reason(error), error.where or where)
    except KeyError as error:
        return Broken(id, f"it has no {error.args[0] if error.args else 'part'!r}", where)
    except OSError as error:
        return Broken(id, error.strerror or _reason(error), where or str(error.filename or ""))
    except ValueError as error:
        return Broken(id, _reason(error), where)
    except Exception as error:
        return Broken(id, f"{type(error).__name__}: {_reason(error)}", where)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def read(source: Source | Stream, decode: Decode, workers: int, limit: int = 0) -> Iterator[Good | Broken]:
    """Yield samples in the order of the data set, the first ``limit`` of them if it is not 0.

    A stream is read in this thread; what it delivers is decoded by the others.
    """
    count = min(len(source), limit or len(source))
    pending: deque[Future[Good | Broken]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="mindloom-look")
    try:
        for number, fetch in enumerate(_fetches(source, count)):
            pending.append(pool.submit(look, number, fetch, decode))
            if len(pending) > AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # Waits for the samples at work: whoever closes this may close their files next.
        pool.shutdown(wait=True, cancel_futures=True)


def _fetches(source: Any, count: int) -> Iterator[Fetch]:
    if is_stream(source):
        yield from _streamed(source, count)
        return
    for index in range(count):
        yield partial(source.__getitem__, index)


def _streamed(source: Stream, count: int) -> Iterator[Fetch]:
    """What a stream delivers; the samples that it still owes when it fails or ends early are one broken sample."""
    samples = source.read(0, 0, count)
    done = 0
    try:
        for sample in samples:
            yield partial(_itself, sample)
            done += 1
        if done < count:
            yield _failing(f"the data ends here: {count - done} of {count} samples are missing")
    except UserError:
        raise
    except Exception as error:
        yield _failing(f"reading fails here, with {count - done} of {count} samples to come: {_reason(error)}")
    finally:
        close = getattr(samples, "close", None)
        if close is not None:
            close()


def _failing(reason: str) -> Fetch:
    return partial(_itself, SampleError(reason))


def _itself(sample: RawSample | SampleError) -> RawSample | SampleError:
    return sample
