"""Writes rows as a Parquet file, one row group at a time."""

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from streamd.cli._table import distinct
from streamd.core.errors import EnvironmentFault
from streamd.sqlite.read_only import QueryRefused

ROW_GROUP_ROWS = 65_536
"""Rows in memory at a time. The first row group decides the type of each column."""


def write(path: Path, columns: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    """Write all rows. SQL expressions have no types, so the values of the first row group decide them.

    Raises `EnvironmentFault` if pyarrow is not installed, and `QueryRefused` if a column has several types.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra, and half a second
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise EnvironmentFault(
            f"Parquet needs pyarrow, which is not installed: {sys.executable} -m pip install pyarrow"
        ) from None

    names = distinct(columns)
    group = list(itertools.islice(rows, ROW_GROUP_ROWS))
    types = [_type(pa, name, [row[i] for row in group]) for i, name in enumerate(names)]
    schema = pa.schema(list(zip(names, types, strict=True)))
    with parquet.ParquetWriter(path, schema) as writer:
        while True:
            values = zip(*group, strict=True) if group else [()] * len(names)
            arrays = [_array(pa, *part) for part in zip(names, values, types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            group = list(itertools.islice(rows, ROW_GROUP_ROWS))
            if not group:
                return


def _type(pa: Any, name: str, values: Sequence[Any]) -> Any:
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {int, float}:
        kinds = {float}
    if len(kinds) > 1:
        found = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise QueryRefused(f"the column {name!r} has {found}, but a Parquet column has one type: CAST it")
    known = {int: pa.int64(), float: pa.float64(), str: pa.string(), bytes: pa.binary()}
    return known[kinds.pop()] if kinds else pa.null()


def _array(pa: Any, name: str, values: Sequence[Any], kind: Any) -> Any:
    try:
        return pa.array(
            [float(v) if type(v) is int else v for v in values] if kind == pa.float64() else values, kind
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise QueryRefused(
            f"the column {name!r} is {kind} in its first {ROW_GROUP_ROWS:,} rows, but not in all: CAST it"
        ) from None
