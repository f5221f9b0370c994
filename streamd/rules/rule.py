"""A rule: its check, its fix and its name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamd.core.batch import Record
from streamd.core.counters import Counters
from streamd.core.errors import ConfigError
from streamd.core.field_names import refuse_unknown
from streamd.core.record_key import RecordKey
from streamd.rules.checks import Check, NotNull, OfExpression, OfPattern, OfType, OneOf, Range
from streamd.rules.conversion import converter, number_of
from streamd.rules.memory import LastValues, SeenKeys
from streamd.rules.model import OfModel
from streamd.rules.reference import Reference
from streamd.rules.settings import RuleSettings
from streamd.rules.shown import shown

Fixed = tuple[Record, str]
"""The new values by field, and what was done."""


class OfMemory(Check):
    """The key of the record was not seen before within a time."""

    def __init__(self, seen: SeenKeys) -> None:
        super().__init__()
        self.fault = seen.fault  # type: ignore[method-assign]  # saves a call for each record


_OF_FIELD: dict[str, Callable[[RuleSettings], Check]] = {
    "not_null": NotNull,
    "type": OfType,
    "range": Range,
    "one_of": OneOf,
    "pattern": OfPattern,
}


class Rule:
    """One rule of a step.

    `memory` holds the keys of a unique rule, or the values with which a rule fills; None if it needs none.
    """

    def __init__(
        self,
        settings: RuleSettings,
        fields: frozenset[str] | None,
        index: int,
        base_dir: Path = Path(),
        counters: Counters | None = None,
    ) -> None:
        """Raises `ConfigError` with the keys below the step for an unknown field or a wrong model."""
        self.settings = settings
        self.name = settings.rule_name
        self.on_error = settings.on_error
        self.otherwise = settings.unfixable if settings.on_error == "fix" else settings.on_error
        """What happens to a failed record that is not fixed."""
        self.memory: SeenKeys | LastValues | None = None
        at = ("rules", index)
        refuse_unknown([settings.field] if settings.field else [], fields, *at, "field")
        refuse_unknown(settings.fields or [], fields, *at, "fields")
        try:
            self.check = self._check(fields, base_dir, Counters() if counters is None else counters)
            if settings.fill_last:
                key = RecordKey(settings.fill_last, fields, option="fill_last")
                self.memory = LastValues(key, settings.max_keys, settings.field or "")
        except ConfigError as error:
            raise ConfigError(str(error), (*at, *error.keys)) from error.__cause__
        except ValueError as error:
            raise ConfigError(f"{settings.check}: {error}", (*at, settings.check)) from None
        self.fault = self.check.fault
        self.field = settings.field or ", ".join(settings.fields or settings.key)
        self._convert = self._converter()

    def _check(self, fields: frozenset[str] | None, base_dir: Path, counters: Counters) -> Check:
        settings = self.settings
        if settings.check == "reference":
            return Reference(settings, base_dir, counters)
        if settings.check == "model":
            return OfModel(settings, base_dir)
        if settings.check == "expression":
            return OfExpression(settings, fields)
        if settings.check == "unique":
            texts = settings.key or [f'field("{settings.field}")']
            key = RecordKey(texts, fields)
            self.memory = seen = SeenKeys(key, settings.max_keys, settings.within or 0.0)
            return OfMemory(seen)
        return _OF_FIELD[settings.check](settings)

    def note(self, record: Record) -> None:
        """Remember a record that the rule finds good and no rule rejects."""
        if self.memory is not None:
            self.memory.note(record)

    def _converter(self) -> Callable[[Any], Any]:
        if self.settings.check == "type":
            return converter(self.settings.type or "", self.settings.unit)
        return number_of if self.settings.check == "range" else _nothing

    def fix(self, record: Record) -> Fixed | None:
        """The values that make the record good; None if there are none. Called if the rule has failed."""
        if isinstance(self.check, OfModel):
            return self.check.fixed
        field = self.settings.field or ""
        value = record.get(field)
        made = None if value is None else self._convert(value)
        if made is not None:
            if self._is_good(record, field, made):
                return {field: made}, f"converted from {shown(value)}"
            value = made
        if (filled := self._fill(record)) is not None:
            return filled
        if isinstance(self.check, Range) and not isinstance(value, bool) and isinstance(value, int | float):
            ge, le = self.check.ge, self.check.le
            if ge is not None and value < ge:
                return {field: ge}, f"raised from {shown(record[field])}"
            if le is not None and value > le:
                return {field: le}, f"lowered from {shown(record[field])}"
        return None

    def _fill(self, record: Record) -> Fixed | None:
        field = self.settings.field or ""
        why = "missing" if field not in record else f"was {shown(record[field])}"
        if self.settings.fill is not None:
            return {field: self.settings.fill}, f"filled, {why}"
        if isinstance(self.memory, LastValues) and (value := self.memory.value(record)) is not None:
            return {field: value}, f"filled with the last value, {why}"
        return None

    def _is_good(self, record: Record, field: str, value: Any) -> bool:
        return self.fault({**record, field: value}) is None


def _nothing(value: Any) -> None:
    del value
