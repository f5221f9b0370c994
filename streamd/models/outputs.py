"""The outputs of a model as fields of records."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamd.core.plural import counted
from streamd.models.inputs import KINDS, Kind
from streamd.models.onnx import Array, ModelFault, ModelPort

_TABLE = 2
"""Dimensions of an output with several columns."""
_WITH_COLUMN = re.compile(r"(.+)\[(\d{1,6})\]")


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """A field that gets the values of one output of the model, or of one column of it."""

    field: str
    name: str
    column: int | None
    kind: Kind

    @property
    def is_label(self) -> bool:
        """Whether the values are equal or different, and not near or far."""
        return self.kind != "number"

    def select(self, array: Array, count: int) -> Array:
        """The values: one of each record, or a row of each. Raises `ModelFault` for another shape."""
        shape = array.shape
        if self.column is None:
            if shape == (count,):
                return array
            if len(shape) == _TABLE and shape[0] == count:
                return array.reshape(count) if shape[1] == 1 else array
        elif len(shape) == _TABLE and shape[0] == count and self.column < shape[1]:
            chosen: Array = array[:, self.column]
            return chosen
        text = f"the output {self.name!r} has the shape {list(shape)} for {counted(count, 'record')}"
        raise ModelFault("run", text if self.column is None else f"{text} and column {self.column}")


def plain(array: Array) -> tuple[list[Any], int]:
    """The values as Python's own, and how many of them are no finite numbers. Those are None."""
    values: list[Any] = array.tolist()
    if array.dtype.kind != "f" or (finite := np.isfinite(array)).all():
        return values, 0
    bad = np.argwhere(~finite).tolist()
    for row, *column in bad:
        if column:
            values[row][column[0]] = None
        else:
            values[row] = None
    return values, len(bad)


def parsed(text: str, ports: Mapping[str, ModelPort]) -> tuple[str, int | None]:
    """Name and column of a text like `probabilities[1]`. An output may have such a name itself."""
    if text not in ports and (found := _WITH_COLUMN.fullmatch(text)) is not None:
        return found[1], int(found[2])
    return text, None


def kind_of(port: ModelPort) -> Kind | None:
    """The kind of the values; None for an output that is no tensor or one of another type."""
    return KINDS[port.type][0] if port.type in KINDS else None
