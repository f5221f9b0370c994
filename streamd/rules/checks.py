"""The checks of rules. Each says why a record is bad, and which Python condition a good record fulfils."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.expression import Expression
from streamd.core.facts import Facts
from streamd.core.json_rules import INT_MAX, INT_MIN
from streamd.core.timestamp import canonical
from streamd.rules.settings import RuleSettings
from streamd.rules.shown import shown
from streamd.shaping.pattern import Pattern

Fault = Callable[[Record], str | None]
"""Why a record is bad; None if it is good."""


class RaisedFault(str):  # noqa: SLOT000 - a str has no room for slots
    """A fault because the user's code raised an exception."""

    error: BaseException
    kind: str

    def __new__(cls, text: str, error: BaseException, kind: str) -> Self:
        self = super().__new__(cls, text)
        self.error, self.kind = error, kind
        return self


class Check:
    """A check of one rule.

    `condition` is Python code over `value`, the value of the rule's field. If it is true, the record is good;
    if it is false, `fault` decides. It must not raise for any value of a builtin type. None means that only
    `fault` decides. `names` are the objects that the code names.
    """

    condition: str | None = None

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}

    def fault(self, record: Record) -> str | None:
        """Why the record is bad; None if it is good."""
        raise NotImplementedError

    def are_all_good(self, facts: Facts) -> bool:
        """Whether all values of the field are good, as far as that is seen without a look at each."""
        return False


class NotNull(Check):
    """The field is there and not null."""

    condition = "value is not None"

    def __init__(self, settings: RuleSettings) -> None:
        super().__init__()
        self._field = settings.field or ""

    def are_all_good(self, facts: Facts) -> bool:
        return all(facts.values)

    def fault(self, record: Record) -> str | None:
        if record.get(self._field) is not None:
            return None
        return "null" if self._field in record else "missing"


class OfField(Check, ABC):
    """A check of the value of a field. A missing or null value is good."""

    def __init__(self, settings: RuleSettings) -> None:
        super().__init__()
        self._field = settings.field or ""

    def fault(self, record: Record) -> str | None:
        value = record.get(self._field)
        return None if value is None else self.fault_of(value)

    @abstractmethod
    def fault_of(self, value: Any) -> str | None:
        """Why the value, which is not None, is bad."""


_WHOLE = "type(value) is int and least <= value <= most"
_TEXT_OR_BOOL = {"str": str, "bool": bool}
_TYPE_CONDITIONS: dict[str, str | None] = {
    "int": f"value is None or {_WHOLE}",
    "float": f"value is None or type(value) is float and value - value == 0.0 or {_WHOLE}",
    "str": "value is None or type(value) is str",
    "bool": "value is None or type(value) is bool",
    "timestamp": None,
}


class OfType(OfField):
    """The value has a type. A number has to be finite, an int to fit 64 bits."""

    def __init__(self, settings: RuleSettings) -> None:
        super().__init__(settings)
        self._type = settings.type or ""
        self._unit = settings.unit
        self.names = {"least": INT_MIN, "most": INT_MAX}
        self.condition = _TYPE_CONDITIONS[self._type]

    def are_all_good(self, facts: Facts) -> bool:
        match self._type:
            case "str" | "bool":
                return facts.kinds == {_TEXT_OR_BOOL[self._type]}
            case "float":
                return facts.are_finite
            case "int":
                return facts.kinds == {int} and min(facts.some) >= INT_MIN and max(facts.some) <= INT_MAX
        return False

    def fault_of(self, value: Any) -> str | None:
        if self._type == "timestamp":
            return self._fault_of_timestamp(value)
        wanted = {"int": int, "float": int | float, "str": str, "bool": bool}[self._type]
        if not isinstance(value, wanted) or (isinstance(value, bool) and self._type != "bool"):
            return f"{shown(value)} is no {self._type}"
        if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
            return "an integer beyond 64 bits"
        if isinstance(value, float) and value - value != 0.0:
            return f"{shown(value)} is not a finite number"
        return None

    def _fault_of_timestamp(self, value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return f"{shown(value)} is no timestamp"
        try:
            canonical(value, self._unit)
        except BadData as bad:
            return f"{shown(value)}: {bad.detail or bad.reason}"
        return None


class Range(OfField):
    """The value is a number within bounds."""

    def __init__(self, settings: RuleSettings) -> None:
        super().__init__(settings)
        self.ge, self.le = settings.ge, settings.le
        self.names = {"ge": self.ge, "le": self.le}
        ge, le = self.ge is not None, self.le is not None
        bounds = "ge <= value <= le" if ge and le else "ge <= value" if ge else "value <= le"
        self.condition = f"value is None or (type(value) is float or type(value) is int) and {bounds}"

    def are_all_good(self, facts: Facts) -> bool:
        if not (facts.kinds == {int} or facts.are_finite):  # min and max may pass over NaN
            return False
        values = facts.some
        return (self.ge is None or self.ge <= min(values)) and (self.le is None or max(values) <= self.le)

    def fault_of(self, value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{shown(value)} is no number"
        if self.ge is not None and value < self.ge:
            return f"{shown(value)} is below {self.ge}"
        if self.le is not None and value > self.le:
            return f"{shown(value)} is above {self.le}"
        return f"{shown(value)} is no number" if value != value else None  # noqa: PLR0124 - NaN


class OneOf(OfField):
    """The value is one of some constants. True and 1 are different, 1 and 1.0 are not."""

    def __init__(self, settings: RuleSettings) -> None:
        super().__init__(settings)
        self._values = settings.values
        self._flags = [value for value in settings.values if isinstance(value, bool)]
        self._others = frozenset(value for value in settings.values if not isinstance(value, bool))
        self.names = {"accepted": self._others, "plain": frozenset({str, int, float})}
        self.condition = "value is None or type(value) in plain and value in accepted"

    def are_all_good(self, facts: Facts) -> bool:
        return facts.kinds == {str} and self._others.issuperset(facts.some)

    def fault_of(self, value: Any) -> str | None:
        if isinstance(value, bool):
            is_good = value in self._flags
        else:
            is_good = isinstance(value, str | int | float) and value in self._others
        return None if is_good else f"{shown(value)} is not accepted"


class OfPattern(OfField):
    """The value is a text, and a pattern matches all of it."""

    condition = "value is None or type(value) is str and len(value) <= longest and match(value)"

    def __init__(self, settings: RuleSettings) -> None:
        """Raises ValueError for a pattern that may take too long."""
        super().__init__(settings)
        pattern = Pattern(settings.pattern or "", whole=True)
        self._match, self._longest = pattern.match, pattern.longest
        self.names = {"match": self._match, "longest": self._longest}

    def fault_of(self, value: Any) -> str | None:
        if not isinstance(value, str):
            return f"{shown(value)} is no text"
        if len(value) > self._longest:
            return f"a text of {len(value)} characters; this pattern is matched with at most {self._longest}"
        return None if self._match(value) else f"{shown(value)} does not match"


class OfExpression(Check):
    """An expression is true for the record."""

    condition = None

    def __init__(self, settings: RuleSettings, fields: frozenset[str] | None) -> None:
        """Raises ValueError for an unknown field."""
        super().__init__()
        expression = Expression(settings.expression or "", fields)
        self._test = expression.test
        self._text = expression.text

    def fault(self, record: Record) -> str | None:
        try:
            return None if self._test(record) else f"not true: {self._text[:200]}"
        except BadData as bad:
            return f"{bad.detail}: {self._text[:200]}"
