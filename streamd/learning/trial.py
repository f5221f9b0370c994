"""Tries whether a class of river can learn with the params of a configuration."""

import contextlib
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from streamd.core.errors import ConfigError
from streamd.core.failure import failure_of
from streamd.learning.model import Kind, RiverModel

_VALUES: Sequence[Sequence[Any]] = ((0.25, 0.75, 0.5), ("a", "b", "a"))
_LABELS: Mapping[Kind, Sequence[Any]] = {
    "classifier": (True, False, True),
    "regressor": (1.0, 2.0, 1.5),
    "detector": (None, None, None),
}


def check_params(maker: RiverModel, fields: Sequence[str], kind: Kind) -> None:
    """Raises `ConfigError` if a class of river learns without its params and cannot learn with them.

    river checks few of them in a constructor, so each record would fail. A model of the user's is not tried:
    its code may do more than learn.
    """
    if not maker.is_of_river or not maker.params:
        return
    why = _why_not(maker, (), fields, kind)
    if not why or _why_not(maker, maker.params, fields, kind):  # it may need other values than those below
        return
    wrong = [name for name in maker.params if not _why_not(maker, (name,), fields, kind)]
    place = ("params", wrong[0]) if len(wrong) == 1 else ("params",)
    raise ConfigError(f"{maker.reference} cannot learn with these params: {why}", place)


def _why_not(maker: RiverModel, without: Collection[str], fields: Sequence[str], kind: Kind) -> str:
    """Why a new model without some of its params learns neither numbers nor texts; empty if it does."""
    why = ""
    for values in _VALUES:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                _learn(maker.make(without), values, fields, kind)
        except Exception as error:  # noqa: BLE001 - river raises whatever the wrong value leads to
            why = why or failure_of(error).text
        else:
            return ""
    return why


def _learn(model: Any, values: Sequence[Any], fields: Sequence[str], kind: Kind) -> None:
    for value, label in zip(values, _LABELS[kind], strict=True):
        x = dict.fromkeys(fields, value)
        if kind == "detector":
            model.score_one(x)
            model.learn_one(x)
        else:
            model.predict_one(x)
            model.learn_one(x, label)
