"""Makes pandas or polars data frames whose column types do not depend on the rows."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.schema import FieldType

Columns = Mapping[str, tuple[FieldType, Sequence[Any]]]
"""Type and values of each column as SQLite returns them: times and JSON as text, bools as 0 and 1."""

_PANDAS = {
    "str": "str", "int": "Int64", "float": "float64", "bool": "boolean", "json": "str", "bytes": "object",
    "any": "object",
}  # fmt: skip


def maker(engine: str) -> Callable[[Columns], Any]:
    """A function that makes a data frame of `engine` from columns.

    Raises `EnvironmentFault` if the package is missing, `ConfigError` for an unknown engine.
    """
    if engine not in ("pandas", "polars"):
        raise ConfigError(f'engine is "pandas" or "polars", not {engine!r}')
    try:
        return _pandas() if engine == "pandas" else _polars()
    except ImportError:
        raise EnvironmentFault(
            f"{sys.executable} does not have {engine}: {sys.executable} -m pip install {engine}"
        ) from None


def _pandas() -> Callable[[Columns], Any]:
    import pandas as pd  # noqa: PLC0415 - an extra, and half a second

    def series(kind: FieldType, values: Sequence[Any]) -> Any:
        if kind == "timestamp":
            times = pd.to_datetime(pd.Series(values, dtype="object"), utc=True, format="ISO8601")
            return times.astype("datetime64[us, UTC]")
        return pd.Series(values, dtype=_PANDAS[kind])

    return lambda columns: pd.DataFrame(_each(columns, series, (ValueError, TypeError, OverflowError)))


def _polars() -> Callable[[Columns], Any]:
    import polars as pl  # noqa: PLC0415 - an extra, and half a second

    types: dict[str, Any] = {
        "str": pl.String, "int": pl.Int64, "float": pl.Float64, "json": pl.String, "bytes": pl.Binary,
        "any": pl.Object,
    }  # fmt: skip

    def series(kind: FieldType, values: Sequence[Any]) -> Any:
        if kind == "timestamp":
            texts = pl.Series(values, dtype=pl.String)
            return texts.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC")
        if kind == "bool":
            return pl.Series(values, dtype=pl.Int64).cast(pl.Boolean)
        return pl.Series(values, dtype=types[kind])

    faults = (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError)
    return lambda columns: pl.DataFrame(_each(columns, series, faults))


def _each(
    columns: Columns,
    series: Callable[[FieldType, Sequence[Any]], Any],
    faults: tuple[type[Exception], ...],
) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, (kind, values) in columns.items():
        try:
            made[name] = series(kind, values)
        except faults as error:
            what = str(error).partition("\n")[0]
            raise EnvironmentFault(f"the column {name!r} holds a value that is no {kind}: {what}") from None
    return made
