"""Captioned pictures in tar shards: what the formats that read them share."""

from __future__ import annotations

from .counts import counted
from .finding import Shard, find_shards
from .index import DESCRIPTION, description
from .patterns import is_url
from .samples import safe_name, sample_of
from .tars import DamagedError, Group, Member, groups, split_name
from .walk import Walk, walk

__all__ = [
    "DESCRIPTION",
    "DamagedError",
    "Group",
    "Member",
    "Shard",
    "Walk",
    "counted",
    "description",
    "find_shards",
    "groups",
    "is_url",
    "safe_name",
    "sample_of",
    "split_name",
    "walk",
]
