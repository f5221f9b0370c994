"""Readers of texts with fields: JSON, logfmt, one row of CSV, and a pattern with named groups.

Each is called with a text and returns the fields. It raises `BadData` with one of the reasons `parse:json`,
`parse:logfmt`, `parse:csv`, `parse:pattern` and `parse:length`. The codec `regex` uses the reader of patterns
with reasons of its own.
"""

import csv
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.json_rules import check_rules, decode_object
from streamd.core.plural import counted
from streamd.core.text_values import by_look, of_type
from streamd.shaping.logfmt import fields_of
from streamd.shaping.pattern import Pattern

csv.field_size_limit(sys.maxsize)  # the frame bounds a value; Python's own limit is 128 KiB

Reader = Callable[[str], Any]
ToValue = Callable[[str], Any]


def value_of(types: str) -> ToValue:
    """Makes values of texts: unchanged for `text`; a number, boolean or null by its look for `auto`."""
    return by_look if types == "auto" else str


def json_object(text: str) -> Record:
    """The fields of a JSON object."""
    try:
        record = decode_object(text.encode("utf-8", "surrogatepass"))
        check_rules(record)
    except BadData as bad:
        raise _json_fault(bad) from None
    return record


def json_value(text: str) -> Any:
    """Any JSON value."""
    if not text.strip():
        raise BadData("parse:json", "empty")
    try:
        return of_type(text, "json")
    except BadData as bad:
        raise _json_fault(bad) from None


def _json_fault(bad: BadData) -> BadData:
    return BadData("parse:json", bad.detail or bad.reason)


def logfmt(to_value: ToValue) -> Reader:
    """A reader of `level=warn msg="disk full" retry` (`shaping/logfmt.py`)."""
    return partial(fields_of, to_value=to_value, reason="parse:logfmt")


def csv_row(columns: Sequence[str], delimiter: str, quote: str, to_value: ToValue) -> Reader:
    """A reader of one row with these columns."""

    def read(text: str) -> Record:
        rows = csv.reader(
            text.splitlines(keepends=True),
            delimiter=delimiter,
            quotechar=quote or None,
            quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
            strict=True,
        )
        try:
            found = [row for row in rows if row]
        except csv.Error as error:
            raise BadData("parse:csv", str(error)) from None
        if len(found) != 1:
            raise BadData("parse:csv", f"{len(found)} rows instead of one")
        if len(found[0]) != len(columns):
            raise BadData(
                "parse:csv", f"{counted(len(found[0]), 'value')} for {counted(len(columns), 'column')}"
            )
        return dict(zip(columns, map(to_value, found[0]), strict=True))

    return read


def pattern(compiled: Pattern, to_value: ToValue, user: str = "parse") -> Reader:
    """A reader of the named groups of a pattern; a group that matches nothing makes no field.

    The reasons of its `BadData` begin with `user`: `parse:pattern`, `parse:length`.
    """

    def read(text: str) -> Record:
        if len(text) > compiled.longest:
            raise BadData(f"{user}:length", f"{len(text)} characters, more than {compiled.longest}")
        found = compiled.match(text)
        if found is None:
            raise BadData(f"{user}:pattern", f"the pattern does not match {text[:64]!r}")
        groups = found.groupdict()
        return {name: to_value(value) for name, value in groups.items() if value is not None}

    return read
