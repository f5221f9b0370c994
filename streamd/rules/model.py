"""The check `model`: a pydantic model of the user accepts the record."""

import inspect
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, RootModel, ValidationError

from streamd.core.batch import Record
from streamd.core.errors import ConfigError
from streamd.core.failure import failure_of, text_of
from streamd.core.json_rules import RESERVED_KEYS
from streamd.functions.imported import Imported
from streamd.rules.checks import Check, RaisedFault
from streamd.rules.model_values import ModelValues
from streamd.rules.settings import RuleSettings
from streamd.rules.shown import listed, shown, shown_name

_MAX_MESSAGE_CHARS = 200
_MOST_DESCRIBED = 64
"""Most errors of a record that are described: Pydantic takes about 10 µs for each."""


class OfModel(Check):
    """The model accepts the record; if it fixes records, it also has the values that the model makes of it.

    The model gets a copy of the record without the metadata, except for names that its fields have as alias.
    """

    def __init__(self, settings: RuleSettings, base_dir: Path) -> None:
        """Import the model. Raises `ConfigError`."""
        super().__init__()
        found = Imported(settings.model or "", base_dir, "model", "model")
        self._model = _complete(found)
        self._base_dir = base_dir
        self._is_strict = settings.strict
        self._fixes = settings.on_error == "fix"
        if self._fixes and issubclass(self._model, RootModel):
            raise ConfigError(f"{found.where} is a RootModel, which has no fields to fix", ("model",))
        self._values = ModelValues(self._model)
        self._hidden = tuple(RESERVED_KEYS - self._values.keys)
        self._last: tuple[Record, str] | None = None
        self.is_current = found.is_current
        self.added = self._values.added if self._fixes else frozenset()
        """The fields that a fix may add."""
        self.fixed: tuple[Record, str] | None = None
        """The values that make the last failed record good, and what was done; None if there are none."""

    def fault(self, record: Record) -> str | None:
        # The judge asks again about a record that has just failed. The user's code sees it only once.
        last, self._last = self._last, None
        if last is not None and last[0] is record:
            return last[1]
        fault = self._fault(record)
        if fault is not None:
            self._last = record, fault
        return fault

    def _fault(self, record: Record) -> str | None:
        given = record.copy()
        for key in self._hidden:
            given.pop(key, None)
        self.fixed = None
        try:
            made = self._accepted(given)
            if self._fixes:
                self.fixed = self._values.changes(record, made)
        except ValidationError as error:
            return _described(error)
        except BaseException as error:  # noqa: BLE001 - user's code; the daemon's signals raise nothing
            failure = failure_of(error, self._base_dir)
            return RaisedFault(failure.text, error, failure.kind)
        return None if self.fixed is None else self.fixed[1]

    def _accepted(self, given: Record) -> BaseModel:
        if not self._is_strict:
            return self._model.model_validate(given)
        try:
            text = json.dumps(given)
        except (TypeError, ValueError, RecursionError):  # bytes, or an integer of too many digits
            return self._model.model_validate(given, strict=True)
        return self._model.model_validate_json(text, strict=True)  # strict JSON accepts a time as a text


def _complete(found: Imported) -> type[BaseModel]:
    """The model, ready for use. Raises `ConfigError`."""
    model: Any = found.found
    if not inspect.isclass(model) or not issubclass(model, BaseModel) or model is BaseModel:
        raise ConfigError(
            f"{found.where} is no pydantic model, a class derived from pydantic.BaseModel", ("model",)
        )
    try:
        model.model_rebuild()
    except Exception as error:
        raise ConfigError(f"{found.where}: {type(error).__name__}: {text_of(error)}", ("model",)) from error
    return model


def _described(error: ValidationError) -> str:
    """The failed fields, each with the reason and the value."""
    if error.error_count() > _MOST_DESCRIBED:
        return f"{error.error_count()} errors of the model {shown_name(error.title)}"
    faults = []
    for fault in error.errors(include_url=False, include_context=False):
        place = shown_name(".".join(map(str, fault["loc"])))
        if fault["type"] == "missing":
            faults.append(f"{place}: missing")
            continue
        message = fault["msg"][:_MAX_MESSAGE_CHARS]
        value = "" if isinstance(fault["input"], dict) else f", got {shown(fault['input'])}"
        faults.append(f"{place}: {message}{value}" if place else f"{message}{value}")
    return listed(faults)
