from typing import Any, Self

from pydantic import Field, model_validator

from streamd.core.batch import Record
from streamd.core.columns import FlatColumns
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import BadData, ConfigError
from streamd.core.expression import Expression, ExpressionText
from streamd.core.now import Now
from streamd.core.settings import Settings


class Set(Step["Set.Config"]):
    """Sets fields to the values of expressions.

    The expressions are evaluated in order; a later one can use the fields that an earlier one has set. If an
    expression fails on a record, the record is rejected unchanged. A record costs about 0.1 µs, and 0.1 to
    0.5 µs for each field.
    """

    in_each_process = True

    class Config(Settings):
        """The fields to set and to remove."""

        fields: dict[str, ExpressionText] = Field(
            {},
            description="name = expression, evaluated in order; a name with dots is one key, not a path",
        )
        remove: list[str] = Field(
            [], description="names of fields that are removed afterwards; a missing field is ignored"
        )

        @model_validator(mode="after")
        def _check(self) -> Self:
            if not self.fields and not self.remove:
                raise ValueError("a set step without fields or remove does nothing")
            for name in (*self.fields, *self.remove):
                if not name:
                    raise ValueError("the name of a field is empty")
                if name.startswith("@"):
                    raise ValueError(f"{name!r} is metadata, which a set step cannot change")
                if name in self.fields and name in self.remove:
                    raise ValueError(f"{name!r} is both set and removed")
            return self

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        self._assignments: list[tuple[str, Expression]] = []
        self.reads_columns = not config.remove
        known = context.fields
        for name, text in config.fields.items():
            try:
                self._assignments.append((name, Expression(text, known)))
            except ValueError as error:
                raise ConfigError(f"fields.{name}: {error}") from None
            if known is not None:
                known |= {name}
        self._fields_after = None if known is None else known - set(config.remove)

    def process(self, records: list[Record], now: Now) -> Processed:
        assignments = [(name, expression.evaluate) for name, expression in self._assignments]
        remove = self.config.remove
        done = Processed([])
        name = ""
        for record in records:
            changed = record.copy()  # a reject keeps the original record
            try:
                for name, evaluate in assignments:
                    changed[name] = evaluate(changed)
            except BadData as bad:
                done.rejects.append(BadRecord(record, bad.reason, f"{name}: {bad.detail}"))
                continue
            for removed in remove:
                changed.pop(removed, None)
            done.records.append(changed)
        return done

    def process_columns(self, columns: FlatColumns, now: Now) -> Processed:
        changed = columns
        waiting: dict[str, list[Any]] = {}
        for name, expression in self._assignments:
            if not waiting.keys().isdisjoint(expression.fields):
                changed, waiting = changed.with_columns(waiting), {}
            values = expression.values(changed)
            if values is None:
                return self.process(columns.records(), now)
            waiting[name] = values
        return Processed([], columns=changed.with_columns(waiting))

    def fields_after(self) -> frozenset[str] | None:
        return self._fields_after
