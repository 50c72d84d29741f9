"""Reading the samples of one local shard from where they lie, and making samples or errors of what was read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from mindloom.formats import RawSample, SampleError
from mindloom.shards import DamagedError, Shard, Walk, groups, sample_of, walk
from mindloom.shards.walk import duplicate, left_out, missing

Warn = Callable[[str, str], None]
Members = list[tuple[str, bytes]]
"""Extensions and contents of the members of a sample."""


class Reader(Protocol):
    """Gives the samples of one shard by number."""

    def prepare(self, numbers: Sequence[int]) -> None:
        """Make these samples ready; they are asked for next, each once."""
        ...

    def sample(self, number: int) -> RawSample | SampleError:
        """The number-th sample as it is, or why it cannot be used."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class Builder:
    """Makes samples from members, and errors that name the place."""

    def __init__(self, shard: Shard, caption_key: str, warn: Warn) -> None:
        self.shard, self.caption_key, self.warn = shard, caption_key, warn

    def build(self, key: str, members: Members, again: bool) -> RawSample | SampleError:
        """Check and compose a sample; ``again`` says that an earlier one of the shard has the same key."""
        fields = dict(members)
        if again:
            return self.error(duplicate(key), key)
        if len(fields) < len(members):
            return self.error(f"duplicate members: {', '.join(sorted(kind for kind, _ in members))[:200]}", key)
        try:
            return sample_of(key, fields, self.caption_key, self.shard)
        except SampleError as error:
            return error

    def missing(self, number: int, found: int, damage: str) -> SampleError:
        """The error of a sample that was counted and is not there."""
        return self.error(missing(self.shard, found, damage), f"#{number}")

    def error(self, reason: str, key: str) -> SampleError:
        """An error at a sample of this shard."""
        return SampleError(reason, f"{self.shard.name}/{key.removeprefix('./')}", f"{self.shard.url}: {key}")

    def extra(self) -> None:
        """Warn that the shard holds more than was counted."""
        self.warn(self.shard.url, left_out(self.shard))


class Local(Builder):
    """Samples of a local tar file, in any order. The headers of a shard are read once, the contents when asked for.

    No file stays open between two samples: a shuffled block may lie in more shards than a process may open files.
    """

    def __init__(self, shard: Shard, caption_key: str, warn: Warn) -> None:
        super().__init__(shard, caption_key, warn)
        self.walk: Walk | None = None

    def prepare(self, numbers: Sequence[int]) -> None:
        """Nothing to do: contents are read one by one."""

    def sample(self, number: int) -> RawSample | SampleError:
        """Read one sample, and the headers of the shard at the first time."""
        key = f"#{number}"
        try:
            with open(self.shard.url, "rb") as file:
                if self.walk is None:
                    self.walk = walk(file, self.shard)
                    if self.walk.extra:
                        self.extra()
                if number >= len(self.walk.starts):
                    return self.missing(number, len(self.walk.starts), self.walk.damage)
                group = next(groups(file, self.walk.starts[number]))
                key, members = group.key, []
                for member in group.members:
                    file.seek(member.offset)
                    members.append((member.extension, file.read(member.size)))
            return self.build(key, members, number in self.walk.again)
        except OSError as error:
            return self.error(f"the shard cannot be read: {error.strerror or error}", key)
        except (DamagedError, StopIteration):
            return self.error("the shard changed while it was read", key)

    def close(self) -> None:
        """Nothing is open."""
