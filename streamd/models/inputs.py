"""The fields of records as a tensor of a model."""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import nan
from typing import Any, Literal

import numpy as np

from streamd.core.columns import Columns
from streamd.models.onnx import Array

Kind = Literal["number", "integer", "flag", "text"]

KINDS: Mapping[str, tuple[Kind, str]] = {
    "tensor(float)": ("number", "f4"),
    "tensor(double)": ("number", "f8"),
    "tensor(float16)": ("number", "f2"),
    **{f"tensor({'u' * (letter == 'u')}int{bits})": ("integer", f"{letter}{bits // 8}")
       for letter in "iu" for bits in (8, 16, 32, 64)},
    "tensor(bool)": ("flag", "?"),
    "tensor(string)": ("text", "O"),
}  # fmt: skip
"""Kind and NumPy type by the type of a tensor."""

_NOT_PACKED = (struct.error, OverflowError, TypeError)

Encoded = tuple[Array, Sequence[int]]
"""The values of a column, and the places of those that are unusable."""


@dataclass(frozen=True, slots=True)
class ModelInput:
    """One input of the model: a tensor with a row for each record and a column for each of `fields`."""

    name: str
    fields: tuple[str, ...]
    kind: Kind
    dtype: str
    flat: bool
    """Whether the tensor has no second dimension."""

    def tensor(self, columns: Columns, unusable: dict[int, str]) -> Array:
        """The tensor of all records. Adds the records with an unusable value and their field to `unusable`.

        An unusable number is NaN in the tensor. It is added as well.
        """
        encode = _ENCODERS[self.kind]
        dtype = np.dtype(self.dtype)
        tensor = self._of_numbers(columns, dtype) if self.kind == "number" else None
        if tensor is None:
            tensor = np.empty((len(columns), len(self.fields)), dtype)
            for place, field in enumerate(self.fields):
                tensor[:, place], bad = encode(columns.column(field), dtype)
                for row in bad:
                    unusable.setdefault(row, field)
        if self.kind == "number" and not (finite := np.isfinite(tensor)).all():
            tensor = np.where(finite, tensor, dtype.type(nan))
            for row, place in zip(*np.nonzero(~finite), strict=True):
                unusable.setdefault(int(row), self.fields[place])
        return tensor.reshape(-1) if self.flat else tensor

    def _of_numbers(self, columns: Columns, dtype: np.dtype[Any]) -> Array | None:
        """The tensor if all values are numbers: one call for all columns is faster than one for each."""
        values = list(chain.from_iterable(map(columns.column, self.fields)))
        code = _code(dtype)
        try:
            packed = struct.pack(f"{len(values)}{code}", *values)
        except _NOT_PACKED:
            return None
        table = np.frombuffer(packed, code).reshape(len(self.fields), -1).T
        return np.ascontiguousarray(_cast(table, dtype))


def _numbers(values: Sequence[Any], dtype: np.dtype[Any]) -> Encoded:
    """Numbers; true and false are 1 and 0. One that is unusable is NaN or infinite and has no place."""
    code = _code(dtype)
    try:
        packed = struct.pack(f"{len(values)}{code}", *values)
    except _NOT_PACKED:
        return _cast(np.array([_number(value) for value in values]), dtype), ()
    return _cast(np.frombuffer(packed, code), dtype), ()


def _code(dtype: np.dtype[Any]) -> str:
    """The type in the module struct: a float16 comes from a float."""
    return "d" if dtype.itemsize > 4 else "f"  # noqa: PLR2004 - bytes of a double


def _cast(array: Array, dtype: np.dtype[Any]) -> Array:
    """The array in this type; a number that is too large is infinite."""
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def _number(value: Any) -> float:
    """The value if `struct` takes it as a number, so that all ways of a batch agree; otherwise NaN."""
    try:
        (number,) = struct.unpack("d", struct.pack("d", value))
    except _NOT_PACKED:
        return nan
    return float(number)


def _integers(values: Sequence[Any], dtype: np.dtype[Any]) -> Encoded:
    """Whole numbers, also 5.0; true and false are 1 and 0."""
    code = "Q" if dtype == np.uint64 else "q"
    try:
        array = np.frombuffer(struct.pack(f"{len(values)}{code}", *values), code)
    except _NOT_PACKED:
        return _checked(values, dtype, lambda value: _integer(value, code))
    limits = np.iinfo(dtype)
    if len(array) and not limits.min <= array.min() <= array.max() <= limits.max:
        return _checked(values, dtype, lambda value: _integer(value, code))
    return array.astype(dtype), ()


def _integer(value: Any, code: str) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        (number,) = struct.unpack(code, struct.pack(code, value))
    except _NOT_PACKED:
        return None
    return int(number)


def _checked(values: Sequence[Any], dtype: np.dtype[Any], integer: Callable[[Any], int | None]) -> Encoded:
    """The integers, with 0 for each that is none or does not fit into the type."""
    limits = np.iinfo(dtype)
    array, bad = np.zeros(len(values), dtype), []
    for place, value in enumerate(values):
        number = integer(value)
        if number is None or not limits.min <= number <= limits.max:
            bad.append(place)
        else:
            array[place] = number
    return array, bad


def _flags(values: Sequence[Any], dtype: np.dtype[Any]) -> Encoded:
    """Booleans, also as the integers 1 and 0, which SQLite has instead."""
    if set(map(type, values)) <= {bool}:
        return np.array(values, dtype), ()
    bad = [place for place, value in enumerate(values) if not _is_flag(value)]
    return np.array([_is_flag(value) and bool(value) for value in values], dtype), bad


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool) or (type(value) is int and value in (0, 1))


def _texts(values: Sequence[Any], dtype: np.dtype[Any]) -> Encoded:
    array = np.empty(len(values), dtype)
    if set(map(type, values)) <= {str}:
        array[:] = values
        return array, ()
    array[:] = [value if isinstance(value, str) else "" for value in values]
    return array, [place for place, value in enumerate(values) if not isinstance(value, str)]


_ENCODERS: Mapping[Kind, Callable[[Sequence[Any], np.dtype[Any]], Encoded]] = {
    "number": _numbers, "integer": _integers, "flag": _flags, "text": _texts,
}  # fmt: skip
