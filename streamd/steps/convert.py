from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import BadData, ConfigError
from streamd.core.expression import Expression, ExpressionText
from streamd.core.field_names import FieldName, NewFieldName, refuse_unknown
from streamd.core.now import Now
from streamd.core.settings import Settings
from streamd.shaping.units import converter


class Conversion(Settings):
    """How one field is converted: with `from` and `to`, or by an `expression`."""

    source: str | None = Field(
        None, alias="from", description="unit of the field, or text if the text names its unit (`1.5 GiB`)"
    )
    to: str | None = Field(None, description="unit of the result")
    expression: ExpressionText | None = Field(
        None, description="an expression for the result, like `(level - 4) / 16 * 100`"
    )
    into: NewFieldName | None = Field(
        None,
        description="name of the field that gets the result; it is replaced if the record has it. Default:"
        " the same field",
    )
    digits: int | None = Field(
        None,
        ge=0,
        le=15,
        description="number of decimal places to which the result is rounded; 0 makes whole numbers",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.expression is not None:
            if self.source is not None or self.to is not None:
                raise ValueError("from and to have no effect with an expression")
        elif self.source is None or self.to is None:
            raise ValueError("a conversion needs from and to, or an expression")
        elif self.source == self.to:
            raise ValueError(f"from and to are both {self.to!r}")
        return self


class Convert(Step["Convert.Config"]):
    """Converts the units of fields, such as °F to °C, `1.5 GiB` to bytes, or by an expression.

    Units: temperature C, F, K; pressure Pa, hPa, kPa, MPa, mbar, bar, atm, psi, mmHg, inHg; speed m/s, km/h,
    mph, kn, ft/s; length mm, cm, m, km, in, ft, yd, mi, nmi; mass mg, g, kg, t, oz, lb; volume mL, L, m3, gal
    (US), ft3; time ns, us, ms, s, min, h, d, w; data bit, B, kB, MB, GB, TB, PB (powers of 1000), KiB, MiB,
    GiB, TiB, PiB or Ki, Mi, Gi, Ti, Pi (powers of 1024); energy J, kJ, MJ, Wh, kWh, MWh; power mW, W, kW, MW;
    voltage mV, V, kV; current mA, A; angle deg, rad; frequency Hz, kHz, MHz, GHz, rpm; ratio 1, %, ppm.

    With `from = "text"` a text names its own unit: `72 F`, `10 MiB`, `250ms`. A time may also be a sum
    (`1h 30m`), a clock (`01:30:00`) or ISO 8601 (`PT1H30M`). K, M and G alone are refused, because they may
    mean 1000 or 1024.

    A missing field or null stays as it is. Whole bytes and bits are integers, other results floats. Reasons
    are `convert:type` (no number or no text), `convert:value` (no number in the text), `convert:unit`,
    `convert:range` (not finite) and those of expressions. A number costs about 0.5 µs, 1 µs with `digits`, a
    text 2 to 3 µs.
    """

    in_each_process = True

    counters: ClassVar[dict[str, str]] = {
        "unconverted": "values that were kept or made null because they cannot be converted"
    }

    class Config(Settings):
        """The conversion of each field."""

        fields: dict[FieldName, Conversion] = Field(
            description='name = { from = "F", to = "C" }, converted in this order'
        )
        on_error: Literal["reject", "keep", "null"] = Field(
            "reject",
            description="a value that cannot be converted: reject (the record), keep (the value, and count"
            " it) or null (as result, and count it)",
        )

        @model_validator(mode="after")
        def _check(self) -> Self:
            if not self.fields:
                raise ValueError("a convert step without fields does nothing")
            return self

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        known = context.fields
        self._conversions: list[tuple[str, str, Callable[[Record], Any], int | None]] = []
        for name, conversion in config.fields.items():
            refuse_unknown([name], known, "fields")
            into = conversion.into or name
            try:
                convert = _of_record(name, conversion, known)
            except ValueError as error:
                raise ConfigError(str(error), ("fields", name)) from None
            self._conversions.append((name, into, convert, conversion.digits))
            if known is not None:
                known |= {into}
        self._fields_after = known

    def process(self, records: list[Record], now: Now) -> Processed:
        done = Processed([])
        for record in records:
            try:
                done.records.append(self._converted(record))
            except BadData as bad:
                done.rejects.append(BadRecord(record, bad.reason, bad.detail))
        return done

    def _converted(self, record: Record) -> Record:
        """The record with the results. Raises `BadData`."""
        converted = record.copy()
        for name, into, convert, digits in self._conversions:
            if converted.get(name) is None:
                continue
            try:
                result = convert(converted)
                if digits is not None:
                    result = _rounded(result, digits)
            except BadData as bad:
                if self.config.on_error == "reject":
                    raise BadData(bad.reason, f"{name}: {bad.detail}") from None
                self.context.counters.add("unconverted", 1, bad.reason)
                if self.config.on_error == "keep":
                    continue
                result = None
            converted[into] = result
        return converted

    def fields_after(self) -> frozenset[str] | None:
        return self._fields_after


def _of_record(name: str, conversion: Conversion, known: frozenset[str] | None) -> Callable[[Record], Any]:
    """The conversion of a field of a record. Raises `ValueError`."""
    if conversion.expression is not None:
        return Expression(conversion.expression, known).evaluate
    convert = converter(conversion.source or "", conversion.to or "")
    return lambda record: convert(record[name])


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadData("convert:type", f"digits is for numbers, not for {type(value).__name__}")
    return round(value, digits) if digits else round(value)
