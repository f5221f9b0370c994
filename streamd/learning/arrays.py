"""NumPy's numbers, arrays and random generators in the pickle of a model, made from checked values only.

NumPy's own functions for pickles trust their arguments: a wrong size or position reads other memory.
"""

import math
import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

_DTYPE = re.compile(r"[biufc?SUO]\d*")
_BYTE_ORDERS = ("<", "|", "=")
_MOST_POSITIONS = {"pos": 624, "buffer_pos": 4}
"""The largest positions within the tables of the generators."""
_KEY_SHAPE = (624,)
_ARRAY_VERSION = 1


@cache
def numpy() -> Any:
    """The package, which river needs too."""
    return import_module("numpy")


def names() -> dict[tuple[str, str], Any]:
    """What a pickle names of NumPy, by module and name, and what reading uses for it."""
    found: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): numpy().ndarray,
        ("numpy", "dtype"): dtype,
    }
    for core in ("numpy._core", "numpy.core"):
        found[f"{core}.multiarray", "scalar"] = scalar
        found[f"{core}.multiarray", "_reconstruct"] = empty_array
        found[f"{core}.numeric", "_frombuffer"] = array
    makers = import_module("numpy.random._pickle")
    for name in ("__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"):
        found["numpy.random._pickle", name] = _calls(getattr(makers, name))
    generators = import_module("numpy.random")
    for name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"):
        cls = getattr(generators, name)
        found[cls.__module__, name] = cls
    seeds = import_module("numpy.random.bit_generator")
    found[seeds.__name__, "SeedSequence"] = seeds.SeedSequence
    unpickle = "__pyx_unpickle_SeedSequence"
    if hasattr(seeds, unpickle):
        found[seeds.__name__, unpickle] = _calls(getattr(seeds, unpickle))
    return found


def _calls(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    return call


def dtype(code: Any, *_: Any) -> Any:
    """The type of numbers, texts or objects. Raises `ValueError` for another one."""
    if type(code) is not str or _DTYPE.fullmatch(code) is None:
        raise ValueError(f"a model has no array of {code!r}")
    return numpy().dtype(code)


def scalar(kind: Any, content: Any = b"") -> Any:
    """One number."""
    return array(content, kind, (), "C")[()]


def array(content: Any, kind: Any, shape: Any, order: Any, axis_order: Any = None) -> Any:
    """An array of numbers or texts. It can be changed if `content` can be."""
    _check_shape(shape, kind)
    if kind.hasobject or len(content) != math.prod(shape) * kind.itemsize:
        raise ValueError("an array has another size than its content")
    made = numpy().frombuffer(content, dtype=kind) if len(content) else numpy().empty(0, kind)
    if order == "K" and axis_order is not None:
        return made.reshape(shape, order="C").transpose(axis_order)
    return made.reshape(shape, order=order)


def empty_array(subtype: Any, shape: Any, kind: Any) -> Any:
    """An array whose state follows."""
    if subtype is not numpy().ndarray or shape != (0,) or kind not in (b"b", "b"):
        raise ValueError("an array of another class")
    return numpy().empty(0, "b")


def check_dtype_state(state: Any) -> None:
    """Raises `ValueError` unless the state says nothing that the code of the type has not said."""
    if type(state) is not tuple or state[1] not in _BYTE_ORDERS or any(part for part in state[2:5]):
        raise ValueError("a type of numbers with another byte order, or with fields")


def check_array_state(state: Any) -> None:
    """Raises `ValueError` if the content of an array does not have its size."""
    version, shape, kind, _, content = state
    _check_shape(shape, kind)
    size = math.prod(shape)
    expected = list if kind.hasobject else bytes
    if version != _ARRAY_VERSION or type(content) is not expected:
        raise ValueError("an array with another content")
    if len(content) != (size if kind.hasobject else size * kind.itemsize):
        raise ValueError("an array has another size than its content")


def check_generator_state(state: Any) -> None:
    """Raises `ValueError` if a random generator would read behind its table."""
    for part in state if type(state) is tuple else (state,):
        if type(part) is not dict:
            continue
        for table in (part, part.get("state")):
            if type(table) is not dict:
                continue
            for name, most in _MOST_POSITIONS.items():
                if name in table and not (type(table[name]) is int and 0 <= table[name] <= most):
                    raise ValueError(f"a random generator at {name} {table[name]!r}")
            if "pos" in table and getattr(table.get("key"), "shape", None) != _KEY_SHAPE:
                raise ValueError("a random generator without its table")


def _check_shape(shape: Any, kind: Any) -> None:
    if type(kind) is not type(numpy().dtype(kind)) or not isinstance(kind, numpy().dtype):
        raise ValueError("an array without a type")
    if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("an array without a shape")
