"""The options of one rule."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from streamd.core.expression import ExpressionText
from streamd.core.field_names import FieldName, FieldNames
from streamd.core.record_key import KeyTexts
from streamd.core.settings import DurationS, Settings, SizeBytes
from streamd.lookup_tables.table import Delimiter

CheckName = Literal[
    "not_null", "type", "range", "pattern", "one_of", "unique", "reference", "expression", "model"
]
OnError = Literal["count", "flag", "fix", "reject"]
ModelReference = Annotated[str, StringConstraints(pattern=r"^.+\.py:\w+$|^\w+(\.\w+)*:\w+$")]
ValueType = Literal["int", "float", "str", "bool", "timestamp"]

_OPTIONS: dict[CheckName, tuple[str, ...]] = {
    "not_null": (),
    "type": ("type", "unit"),
    "range": ("ge", "le"),
    "pattern": ("pattern",),
    "one_of": ("values",),
    "unique": ("within", "key", "max_keys"),
    "reference": ("path", "table", "fields", "columns", "delimiter", "check_every", "max_size"),
    "expression": ("expression",),
    "model": ("model", "strict"),
}
"""The options of each check, beside those of every rule."""
_REQUIRED = {
    "type": "type",
    "pattern": "pattern",
    "one_of": "values",
    "unique": "within",
    "reference": "path",
    "expression": "expression",
    "model": "model",
}
_CHECKS_OF = {
    option: [check for check, options in _OPTIONS.items() if option in options]
    for options in _OPTIONS.values()
    for option in options
}
_OWN_FIX = {"type", "range", "model"}
"""Checks with a fix of their own: a text becomes a number, a number is moved to the nearest bound, a record
gets the values of the model."""


def _scalars(values: list[Any]) -> list[Any]:
    for value in values:
        if not isinstance(value, str | int | float | bool):
            raise ValueError(f"an accepted value is a text, a number, true or false, not {value!r}")  # noqa: TRY004 - pydantic reports a ValueError
    return values


def _scalar(value: Any) -> Any:
    return None if value is None else _scalars([value])[0]


class RuleSettings(Settings):
    """A rule of the step `validate`: what is checked, and what happens to a record that fails."""

    name: str | None = Field(
        None,
        pattern="^[a-z][a-z0-9_]{0,63}$",
        description="name of the rule in the table `quality`, in metrics and in the field `quality`: a to z,"
        " digits and underscores. Default: the field and the check, like temp_range",
    )
    check: CheckName = Field(
        description="not_null, type, range, pattern (of a text), one_of (accepted values), unique (within a "
        "time), reference (into a table), expression or model (of Pydantic, for the whole record). Except for"
        " not_null, expression and model, a missing or null value passes"
    )
    field: FieldName | None = Field(
        None, description="name of the field that is checked; a name with dots is one key, not a path"
    )
    on_error: OnError = Field(
        "count",
        description="count (the record passes unchanged), flag (it also gets a field that names the rule), "
        "fix (the value is corrected, and the field says how) or reject (it becomes a dead letter)",
    )
    type: ValueType | None = Field(
        None,
        description="type: the type of the value. float accepts whole numbers too. Its fix converts texts "
        'like "12.5" or "true", numbers to texts, and times to UTC texts',
    )
    unit: Literal["s", "ms", "us", "ns"] = Field(
        "s", description="type timestamp: unit of an epoch number, also if it is a text"
    )
    ge: int | float | None = Field(None, description="range: the lowest accepted value")
    le: int | float | None = Field(
        None,
        description="range: the highest accepted value. The fix of a range reads a number in a text, and "
        "moves a value outside to the nearest bound",
    )
    pattern: str | None = Field(
        None,
        min_length=1,
        description="pattern: a regular expression of Python that matches the whole text, like "
        "`[A-Z]{2}[0-9]+`. A pattern whose work has no bound is refused",
    )
    values: Annotated[list[Any], AfterValidator(_scalars)] = Field([], description="one_of: accepted values")
    within: DurationS | None = Field(
        None, gt=0, description="unique: how long a value is remembered after the first record with it"
    )
    key: KeyTexts = Field(
        [], description="unique: expressions whose values must be unique together, instead of `field`"
    )
    max_keys: int = Field(
        100_000,
        ge=2,
        le=50_000_000,
        description="unique and fill_last: most keys that are remembered; beyond it the older half is "
        "forgotten",
    )
    path: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        None,
        description="reference: the file of the table, relative to the configuration file: CSV with a header,"
        " or SQLite. It is read again when it changes; the old table stays in use if that fails",
    )
    table: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        None, description="reference: table or view of an SQLite file. Default: the file is CSV"
    )
    fields: FieldNames | None = Field(
        None,
        description="reference: fields whose values must be in one row, instead of `field`. A record in which"
        " one of them is missing or null passes",
    )
    columns: list[str] = Field(
        [],
        description="reference: the column of each field. Default: columns with the names of the fields",
    )
    delimiter: Delimiter = Field(",", description="reference: character between two values of a CSV file")
    check_every: DurationS = Field(  # type: ignore[assignment]  # parsed by the validator
        "5s", gt=0, description="reference: how often the file is checked for a change"
    )
    max_size: SizeBytes = Field(  # type: ignore[assignment]  # parsed by the validator
        "64MiB", description="reference: most memory of the table, and the largest CSV file"
    )
    expression: ExpressionText | None = Field(
        None, description="expression: a condition that is true for a good record"
    )
    model: ModelReference | None = Field(
        None,
        description="model: a class derived from the BaseModel of Pydantic: `models.py:Reading`, with a path"
        " relative to the configuration file, or `package.module:Reading`. It gets the record without its"
        " metadata. Its fix takes the values of the model, such as the number in a text or a default",
    )
    strict: bool = Field(
        False,
        description="model: whether values must have the types of the model, as far as JSON has them, instead"
        " of being convertible. Default: as the model says",
    )
    fill: Annotated[Any, AfterValidator(_scalar)] = Field(
        None,
        description="fix: the value that replaces a bad one (for type and range, one that cannot be read)",
    )
    fill_last: KeyTexts = Field(
        [],
        description="fix: expressions that name a device, like sensor; a bad value is replaced by the last "
        "good value of the same device",
    )
    unfixable: Literal["count", "flag", "reject"] = Field(
        "reject", description="fix: what happens to a record whose value cannot be corrected"
    )

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        given = self.model_fields_set
        self._refuse_idle(given)
        if (needed := _REQUIRED.get(self.check)) is not None and not getattr(self, needed):
            raise ValueError(f"check = {self.check!r} needs {needed!r}")
        self._check_field()
        if self.check == "range":
            self._check_range()
        elif self.check == "reference":
            self._check_table()
        if self.on_error == "fix":
            self._check_fix()
        return self

    def _refuse_idle(self, given: set[str]) -> None:
        """Raises ValueError for an option that would have no effect."""
        for option, checks in _CHECKS_OF.items():
            shared = option == "max_keys" and self.fill_last
            if option in given and self.check not in checks and not shared:
                raise ValueError(f"{option!r} is for check = {checks[0]!r}, not for {self.check!r}")
        if "unit" in given and self.type != "timestamp":
            raise ValueError("'unit' is for type = \"timestamp\"")
        for option in ("fill", "fill_last", "unfixable"):
            if option in given and self.on_error != "fix":
                raise ValueError(f'{option!r} has no effect without on_error = "fix"')

    def _check_field(self) -> None:
        several = {"unique": "key", "reference": "fields"}.get(self.check)
        if self.check == "expression":
            self._check_expression()
        elif self.check == "model":
            if self.field is not None:
                raise ValueError("a model checks the whole record: leave out 'field'")
        elif several is not None:
            if (self.field is None) == (not getattr(self, several)):
                raise ValueError(f"{self.check} needs either field or {several}")
        elif self.field is None:
            raise ValueError(f"check = {self.check!r} needs 'field'")
        if self.name is None and not _is_plain(self.rule_name):
            raise ValueError("this rule needs a name: a to z, digits and underscores")

    def _check_expression(self) -> None:
        if self.name is None:
            raise ValueError("a rule with an expression needs a name")
        if self.field is not None and self.on_error != "fix":
            raise ValueError("'field' of an expression names the field that is fixed: set on_error = \"fix\"")

    def _check_range(self) -> None:
        if self.ge is None and self.le is None:
            raise ValueError("a range needs ge, le or both")
        if any(bound is not None and not abs(bound) < float("inf") for bound in (self.ge, self.le)):
            raise ValueError("a bound is a finite number; leave out a bound that does not matter")
        if self.ge is not None and self.le is not None and self.ge > self.le:
            raise ValueError(f"ge = {self.ge} and le = {self.le} allow no value")

    def _check_table(self) -> None:
        if self.columns and len(self.columns) != len(self.fields or [self.field]):
            raise ValueError("'columns' names one column for each field")
        if self.table is not None and "delimiter" in self.model_fields_set:
            raise ValueError("'delimiter' is for CSV, not for a table of SQLite")

    def _check_fix(self) -> None:
        if self.check == "model":
            if self.fill is not None or self.fill_last:
                raise ValueError("the fix of a model takes its values: leave out fill and fill_last")
            if self.strict:
                raise ValueError("'strict' has no effect with a fix, which converts what strict refuses")
            return
        if self.fill is not None and self.fill_last:
            raise ValueError("a rule fills with either fill or fill_last")
        if self.check == "unique":
            raise ValueError("nothing makes a repeated value unique: use count, flag or reject")
        if self.field is None:
            raise ValueError("a fix needs 'field', the field whose value is replaced")
        if not (self.fill is not None or self.fill_last) and self.check not in _OWN_FIX:
            raise ValueError(f"the fix of {self.check!r} needs fill or fill_last")

    @property
    def rule_name(self) -> str:
        """The stable name of the rule."""
        named_after = self.field or (self.model or "").rpartition(":")[2]
        return self.name or f"{named_after}_{self.check}".lower()


def _is_plain(name: str) -> bool:
    return name.isascii() and name[:1].isalpha() and name.replace("_", "a").isalnum() and len(name) <= 64  # noqa: PLR2004


def rule_problem(rules: list[RuleSettings]) -> str | None:
    """Why these rules cannot stand together; None if they can."""
    names = [rule.rule_name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            return f"two rules are named {name!r}: give one of them another name"
    return None
