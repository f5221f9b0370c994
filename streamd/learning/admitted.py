"""Which classes and functions the pickle of a model may name, and which of them reading it may call."""

import collections
import copy
import datetime as dt
import decimal
import functools
import inspect
import random
import statistics
import sys
import types
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from streamd.learning import arrays

ModuleOf = Callable[[str], types.ModuleType | None]
"""The module of the user's model with this name; None if the model has no such module."""

_NOT_OF_MODELS = frozenset({"datasets", "stream", "evaluate", "checks", "api"})
"""Packages of river that read files or the network."""


class Refused(ValueError):  # noqa: N818 - a verdict on a pickle
    """A pickle asks for something that no model needs."""


class Admitted:
    """The classes of river, of the user's model, and a few others."""

    def __init__(self, module_of: ModuleOf) -> None:
        self._module_of = module_of

    def find(self, module: str, name: str) -> Any:
        """The class or function of that name. Raises `Refused`."""
        known = _known().get((module, name))
        if known is not None:
            return known
        found: Any = None
        if module.partition(".")[0] == "river":
            if _NOT_OF_MODELS.isdisjoint(module.split(".")):
                found = _found(sys.modules.get(module) or import_module(module), name, "river")
        elif (own := self._module_of(module)) is not None:
            found = _found(own, name, own.__name__)
        if found is None:
            raise Refused(f"{module}.{name} is no part of a model")
        return found

    def may_call(self, function: Any) -> bool:
        """Whether it is a class of river or of the user's, or one of a few others."""
        if isinstance(function, type) and not issubclass(function, type):
            module = function.__module__
            return (
                function in _CALLED
                or module.partition(".")[0] == "river"
                or module.startswith("numpy.random.")
                or self._module_of(module) is not None
            )
        return type(function) is types.FunctionType and function.__module__ in _OURS

    def check_state(self, made: Any, state: Any) -> None:
        """Raises `Refused` or `ValueError` if the state does not suit the object."""
        cls = type(made)
        if isinstance(made, type):
            raise Refused(f"reading a model does not change the class {made.__name__}")
        if isinstance(made, arrays.numpy().dtype):
            arrays.check_dtype_state(state)
        elif cls is arrays.numpy().ndarray:
            arrays.check_array_state(state)
        elif cls.__module__.startswith("numpy.random."):
            arrays.check_generator_state(state)
        elif cls in _ITERATORS:
            if type(state) is not int:
                raise Refused("an iterator at no place")
        elif not self.may_call(cls):
            raise Refused(f"reading a model does not change {cls.__name__}")


def _found(module: types.ModuleType, name: str, owner: str) -> Any:
    """The class or function that a module of `owner` defines under this name; None if it has none."""
    found: Any = module
    for part in name.split("."):
        found = vars(found).get(part) if found is module or isinstance(found, type) else None
        if isinstance(found, staticmethod):
            found = found.__func__
    its_module = getattr(found, "__module__", None)
    if not isinstance(its_module, str) or not (its_module == owner or its_module.startswith(f"{owner}.")):
        return None
    is_class = isinstance(found, type)
    if owner == "river" and not _NOT_OF_MODELS.isdisjoint(its_module.split(".")):
        return None
    return found if is_class or (callable(found) and hasattr(found, "__qualname__")) else None


_CALLED = frozenset({
    slice, complex, functools.partial, random.Random, collections.defaultdict, collections.OrderedDict,
    collections.Counter, collections.deque, statistics.NormalDist, decimal.Decimal, dt.datetime,
    dt.date, dt.time, dt.timedelta, dt.timezone,
})  # fmt: skip
"""Plain classes whose objects a model may have."""
_ITERATORS: tuple[type, ...] = (type(iter([])), type(iter(())))
_OURS = (__name__, arrays.__name__)
"""The modules whose functions stand for those that a pickle names."""
_VALUES = (bool, int, float, str, bytes, tuple, list, dict, set, frozenset)
"""Plain classes that a model may name, as the factory of a `defaultdict` does. Reading does not call them."""


@cache
def _known() -> dict[tuple[str, str], Any]:
    """What a model may name outside of river and of the user's modules, by module and name."""
    known: dict[tuple[str, str], Any] = {
        (cls.__module__, cls.__qualname__): cls for cls in (*_CALLED, *_VALUES)
    }
    known["builtins", "getattr"] = _method
    known["builtins", "iter"] = _iterator
    known["copy", "deepcopy"] = copy.deepcopy
    return known | arrays.names()


def _method(owner: Any, name: Any) -> Any:
    """A method of an object of a model, as a pickle asks `getattr` for it."""
    if type(name) is not str or name.startswith("__"):
        raise Refused(f"a model has no method {name!r}")
    if any(owner is cls for cls in _VALUES):
        return getattr(owner, name)
    cls = type(owner)
    found = inspect.getattr_static(cls, name, None)
    if isinstance(owner, type) or isinstance(found, type | property) or not hasattr(found, "__get__"):
        raise Refused(f"{cls.__name__} has no method {name!r}")
    method = found.__get__(owner, cls)
    if not callable(method):
        raise Refused(f"{name!r} of {cls.__name__} is no method")
    return method


def _iterator(values: Any) -> Any:
    if type(values) not in (list, tuple):
        raise Refused("a model iterates over lists only")
    return iter(values)
