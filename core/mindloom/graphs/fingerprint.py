"""A digest of what a cell's graph is made of: its classes, constants, operators, functions and parameters.

Everything that the front end could look at is taken in, from the cell down: attributes, slots, closures, defaults,
the methods of classes, and the globals that functions name, in other modules too. So a setting that ends up in a graph
as a constant is met here, wherever a plugin keeps it. Values of parameters are not part of a graph; those of other
tensors are. What is taken in needlessly costs a compilation now and then; what were left out could cost a wrong result.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import logging
import sys
import types
from collections.abc import Mapping, Sequence, Sized
from collections.abc import Set as AbstractSet
from pathlib import PurePath
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn
from mindspore import ops as P
from omegaconf import OmegaConf

from ..blame import summary

MOST = 3_000_000
"""Values after which a walk is given up."""
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), slice, range, np.generic, PurePath)
OUTSIDE = frozenset({"mindspore", "numpy", *sys.stdlib_module_names})
"""Packages that the versions stand for."""
BUILDING = ("__init__", "__new__", "__init_subclass__", "__post_init__", "__class_getitem__")
"""Methods that have run before a graph is compiled: what they did is in the attributes."""

CELL = frozenset({*vars(nn.Cell()), "_func_graph_flags"})
SHAPING = frozenset(
    {
        *("_params", "_cells", "_buffers", "_params_list", "_primitives", "training", "requires_grad"),
        *("mixed_precision_type", "cell_type", "has_bprop", "grad_ops_label", "_recompute_cell", "_jit_config_dict"),
        *("_has_config_recompute", "_amp_level", "_in_strategy", "_out_strategy", "_func_graph_flags"),
        *("_dynamic_shape_inputs", "_shard_fn", "_parameter_layout_dict"),
        *(name for name in CELL if "_hook" in name),
    }
)
"""Attributes of every cell that matter; the others are bookkeeping, some of it different in each process."""
BOOKKEEPING = (CELL - SHAPING) | {"_cell_init_args", "compile", "sequence_modified", "current_phase", "compile_phase"}


INFERRED = {"Stack": ("N", "num")}
"""Of operators: attributes that MindSpore fills in from the inputs when a graph, any graph, is compiled with them."""
PLACING = ("layerwise_parallel", "parallel_optimizer", "comm_fusion")
"""Of parameters: how several processes share them."""


def counts(name: str, value: Any) -> bool:
    """Whether a cell's attribute may shape its graph. Compiling fills in some that were missing, with nothing."""
    if name in CELL and (value is None or (isinstance(value, Sized) and not value)):
        return False
    return name not in BOOKKEEPING and not name.startswith("__")


class UnsureError(Exception):
    """A cell's graph cannot be told from others; the text says why."""


class Fingerprint:
    """Takes values in, one after the other.

    Attributes:
        modules: names of the modules, outside of MindSpore, whose code took part.
        parameters: every parameter met.
    """

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.visits = 0
        self.seen: dict[int, int] = {}
        self.kept: list[Any] = []
        self.modules: set[str] = set()
        self.parameters: list[ms.Parameter] = []

    def say(self, *words: object) -> None:
        self.hash.update("\x1f".join(map(str, words)).encode("utf-8", "surrogatepass") + b"\x1e")

    def add(self, value: Any) -> None:
        """Take one value in, with everything that it refers to."""
        if isinstance(value, PLAIN):
            self.say(type(value).__name__, repr(value))
            return
        self.visits += 1
        if self.visits > MOST:
            raise UnsureError("it refers to too much")
        if isinstance(value, tuple):  # compiling puts equal ones into the place of others
            self._compound(value)
            return
        if id(value) in self.seen:
            self.say("again", self.seen[id(value)])
            return
        self.seen[id(value)] = len(self.seen)
        self.kept.append(value)  # or another value could get its id
        self._compound(value)

    def _compound(self, value: Any) -> None:
        if isinstance(value, ms.Parameter):
            self.parameters.append(value)
            self.say("parameter", value.name, value.shape, value.dtype, value.requires_grad)
            self.say(*(getattr(value, name, None) for name in PLACING))
        elif isinstance(value, ms.Tensor):
            self.say("tensor", value.shape, value.dtype)
            self.hash.update(value.asnumpy().tobytes())
        elif isinstance(value, np.ndarray):
            self.say("array", value.shape, value.dtype)
            self.hash.update(np.ascontiguousarray(value).tobytes())
        elif isinstance(value, nn.Cell):
            self._object(value, {name: item for name, item in vars(value).items() if counts(name, item)})
        elif isinstance(value, Mapping) and not OmegaConf.is_config(value):
            self.say("mapping", type(value).__qualname__, len(value))
            for key, item in value.items():
                self.add(key)
                self.add(item)
        elif isinstance(value, Sequence) and not OmegaConf.is_config(value):
            self.say("sequence", type(value).__qualname__, len(value))
            for item in value:
                self.add(item)
        elif isinstance(value, AbstractSet):
            self.say("set", sorted(map(repr, value)))
        else:
            self._other(value)

    def _other(self, value: Any) -> None:
        if OmegaConf.is_config(value):
            self.say("config", OmegaConf.to_yaml(value))
        elif isinstance(value, enum.Enum):
            self.say("enum", type(value).__qualname__, value.name)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.MethodType):
            self.add(value.__func__)
            self.add(value.__self__)
        elif isinstance(value, functools.partial):
            self.say("partial")
            for item in (value.func, value.args, value.keywords):
                self.add(item)
        elif isinstance(value, types.CodeType):
            self.say("code", value.co_name, value.co_names, value.co_varnames)
            self.hash.update(value.co_code)
            for item in value.co_consts:
                self.add(item)
        elif isinstance(value, types.ModuleType):
            if value.__name__.partition(".")[0] not in OUTSIDE:  # no code says what is looked up in it
                raise UnsureError(f"it keeps the module {value.__name__}, which code should name")
            self._module(value, ())
        elif isinstance(value, logging.Logger | types.BuiltinFunctionType):
            self.say("named", getattr(value, "__name__", value))
        elif isinstance(value, property):
            self.add(value.fget)
        elif type(value).__module__.startswith("mindspore") and not hasattr(value, "__dict__"):
            self.say("value", type(value).__qualname__, value)  # such as a dtype
        else:
            slots = {name: getattr(value, name) for name in _slots(type(value)) if hasattr(value, name)}
            self._object(value, {**slots, **getattr(value, "__dict__", {})})

    def _object(self, value: Any, attributes: Mapping[str, Any]) -> None:
        self.say("object")
        self.add(type(value))
        inferred: Sequence[str] = ()
        if isinstance(value, P.Primitive):
            self.say("operator", value.name)
            inferred = INFERRED.get(value.name, ())
            attributes = {**attributes, "attrs": {n: v for n, v in sorted(value.attrs.items()) if n not in inferred}}
        for name in sorted(attributes.keys() - set(inferred)):
            self.say("attribute", name)
            self.add(attributes[name])
        self.say("end")

    def _class(self, found: type) -> None:
        """A class by its name and code; MindSpore's own by name alone, but for those made for a user's function."""
        self.say("class", found.__module__, found.__qualname__)
        if _outside(found):
            if "<locals>" not in found.__qualname__:
                return
        else:
            self.modules.add(found.__module__)
        for base in found.__bases__:
            self.add(base)
        for name, item in sorted(vars(found).items()):
            item = getattr(item, "__func__", item)
            if not name.startswith("__") or (name not in BUILDING and isinstance(item, types.FunctionType)):
                self.say("member", name)
                self.add(item)
        self.say("end")

    def _module(self, module: types.ModuleType, names: Sequence[str]) -> None:
        """A module, and what is looked up in it: of the names in a piece of code, any may be meant."""
        self.say("module", module.__name__)
        if module.__name__.partition(".")[0] in OUTSIDE:
            return
        self.modules.add(module.__name__)
        for name in names:
            if name in vars(module):
                self._named(name, vars(module)[name], names)
        self.say("end")

    def _named(self, name: str, value: Any, names: Sequence[str]) -> None:
        self.say("global", name)
        if isinstance(value, types.ModuleType):
            # Not by ``add``: each function looks up other names in it. A package that refers to itself ends the walk.
            self.visits += 1
            if self.visits > MOST:
                raise UnsureError("it refers to too much")
            self._module(value, [other for other in names if other != name])
        else:
            self.add(value)

    def _function(self, function: types.FunctionType) -> None:
        self.say("function", function.__module__, function.__qualname__)
        for item in (function.__defaults__, function.__kwdefaults__):
            self.add(item)
        outside, names = _outside(function), _names(function.__code__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if outside and name == "hash_obj":  # the time at which MindSpore wrapped it
                continue
            try:
                self._named(name, cell.cell_contents, names)
            except ValueError:
                self.say("empty")
        if outside:
            return
        self.modules.add(str(function.__module__))
        self.add(function.__code__)
        for name in names:
            if name in function.__globals__:
                self._named(name, function.__globals__[name], names)
        self.say("end")


def _outside(found: Any) -> bool:
    return str(found.__module__).partition(".")[0] in OUTSIDE


def _slots(found: type) -> list[str]:
    """Attributes that are not in ``__dict__``."""
    wanted = (vars(base).get("__slots__", ()) for base in found.__mro__ if not _outside(base))
    return sorted({name for slots in wanted for name in ([slots] if isinstance(slots, str) else slots)})


def _names(code: types.CodeType) -> list[str]:
    """Everything that code looks up by name, inner functions too, in a fixed order."""
    inner = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return sorted({*code.co_names, *(name for each in inner for name in _names(each))})


def signature(cell: nn.Cell, columns: Sequence[ms.Tensor]) -> tuple[object, ...]:
    """What MindSpore compiles another graph of the same cell for; cheap, because it is asked for at every step."""
    return (cell.training, *[(column.shape, column.dtype) for column in columns])


def fingerprint(cell: nn.Cell, columns: Sequence[ms.Tensor]) -> tuple[str, str, set[str]]:
    """The digests of a cell and of what it is called with, and the modules that the cell's code is in.

    Raises:
        UnsureError: something in the cell cannot be looked through, or would be lost in the cache.
    """
    walk = Fingerprint()
    try:
        walk.add(cell)
    except UnsureError:
        raise
    except Exception as error:  # a plugin's object that does not like to be looked at must not end the run
        raise UnsureError(f"it cannot be looked through: {summary(error)}") from error
    # A loaded graph finds its parameters by name among those of the cell; any other would become a copy of its own.
    known = {id(param) for param in cell.parameters_dict().values()}
    for param in walk.parameters:
        if id(param) not in known:
            raise UnsureError(f"the parameter {param.name} is used, but is not among those of the cell")
    return walk.hash.hexdigest(), repr(signature(cell, columns)), walk.modules
