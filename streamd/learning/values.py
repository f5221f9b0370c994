"""What a model gets of a record, and what a record gets of a model."""

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from streamd.core.batch import Record
from streamd.functions.values import BadValue, plain_record
from streamd.learning.model import Kind

MOST = 1e150
"""The largest number that a model gets: the squares of larger ones are no finite numbers."""


_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
"""The whole numbers that a state and the sinks can hold."""


def features_of(record: Record, fields: Sequence[str]) -> dict[str, Any] | None:
    """The fields of a record; None if one is missing, or neither a finite number nor a valid text.

    A whole number beyond 64 bits becomes a float, because the state holds none.
    """
    x = {}
    for name in fields:
        value: Any = record.get(name)
        kind = type(value)
        if kind is float or kind is int:
            if not -MOST <= value <= MOST:
                return None
            if kind is int and not _SMALLEST <= value <= _LARGEST:
                value = float(value)
        elif kind is not bool and (kind is not str or not _is_valid(value)):
            return None
        x[name] = value
    return x


def is_label(value: Any, kind: Kind) -> bool:
    """Whether a model of this kind can learn the value: a text, a number, true or false; or a number.

    A class is a value that predictions may have, so it is no whole number beyond 64 bits.
    """
    if type(value) in (int, float):
        exact = kind == "classifier" and type(value) is int
        return bool(_SMALLEST <= value <= _LARGEST if exact else -MOST <= value <= MOST)
    return kind == "classifier" and (type(value) is bool or (type(value) is str and _is_valid(value)))


def _is_valid(text: str) -> bool:
    """Whether the text has no half of a surrogate pair, which the state cannot hold."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain(value: Any) -> Any:
    """A prediction as records have it; None if it is no finite number, or nothing that can be stored."""
    if type(value) not in (str, bool, int, float):
        try:
            value = plain_record({"": value})[""]
        except BadValue:
            return None
    if type(value) is float:
        return value if isfinite(value) else None
    if type(value) is int:
        return value if _SMALLEST <= value <= _LARGEST else None
    return value if type(value) is bool or (type(value) is str and _is_valid(value)) else None


def plain_probabilities(probabilities: Mapping[Any, Any] | None) -> dict[Any, float] | None:
    """The probability of each label as plain values; None if there is none or one is no finite number."""
    found = {plain(label): plain(number) for label, number in (probabilities or {}).items()}
    numbers = all(type(number) is float or type(number) is int for number in found.values())
    return found if found and numbers and None not in found else None


def by_text(probabilities: Mapping[Any, float] | None) -> dict[str, float] | None:
    """The probabilities as an object; true and false are texts as in JSON.

    A text label that would have the name of another label keeps its quotation marks: `"true"` beside `true`.
    """
    if probabilities is None:
        return None
    named = {
        str(label).lower() if type(label) is bool else str(label): number
        for label, number in probabilities.items()
    }
    if len(named) == len(probabilities):
        return named
    texts = {label for label in probabilities if type(label) is str}
    named = {}
    for label in sorted(probabilities, key=texts.__contains__):  # the other labels get their names first
        name = str(label).lower() if type(label) is bool else str(label)
        while name in named:
            name = json.dumps(name, ensure_ascii=False)
        named[name] = probabilities[label]
    return named
