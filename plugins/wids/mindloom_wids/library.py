"""Importing the package ``wids``, which asks for torch although it needs none to read.

``wids.wids`` (0.1.11) imports ``torch.distributed`` for one sampler, and derives its data set from
``torch.utils.data.Dataset[T]``; what it falls back to for the latter cannot be subscripted. Where torch is not
installed, empty modules of these names stand in for the moment of the import.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Generic, TypeVar

from mindloom import UserError

LOCK = threading.Lock()
T = TypeVar("T")


class Dataset(Generic[T]):
    """Stands for ``torch.utils.data.Dataset``, which has no behaviour either."""


def library() -> Any:
    """Return the module ``wids.wids``.

    Raises:
        UserError: it is not installed, or cannot be imported.
    """
    try:
        with LOCK, torch_or_stand_in():
            return importlib.import_module("wids.wids")
    except ModuleNotFoundError as error:
        if error.name != "wids":
            raise UserError(f"the package wids cannot be imported ({error}): pip install {error.name}") from None
        raise UserError("the format wids needs the package wids: pip install wids") from None
    except (ImportError, OSError) as error:  # importing it makes a folder below /tmp
        raise UserError(f"the package wids cannot be imported ({error}): see to that, or install it again") from None


@contextmanager
def torch_or_stand_in() -> Iterator[None]:
    """Have ``torch.distributed`` and ``torch.utils.data`` importable; afterwards what stood in for them is gone."""
    if installed("torch"):
        yield
        return
    names = ("torch", "torch.distributed", "torch.utils", "torch.utils.data")
    before = {name: sys.modules.get(name) for name in names if name in sys.modules}
    modules: dict[str, Any] = {name: ModuleType(name, "Empty, for the import of wids.") for name in names}
    for name, module in modules.items():
        parent, _, attribute = name.rpartition(".")
        if parent:
            setattr(modules[parent], attribute, module)
    modules["torch.utils.data"].Dataset = modules["torch.utils.data"].Sampler = Dataset
    try:
        sys.modules.update(modules)
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(before)  # type: ignore[arg-type]  # None there blocks an import


def installed(name: str) -> bool:
    """Whether a package is there or could be imported. Some import hooks block one by raising from the search."""
    if sys.modules.get(name) is not None:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
