from pydantic import Field

from streamd.core.batch import Record
from streamd.core.columns import FlatColumns
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import ConfigError
from streamd.core.expression import Expression, ExpressionText
from streamd.core.now import Now
from streamd.core.settings import Settings


class Filter(Step["Filter.Config"]):
    """Keeps the records for which an expression is true, and counts the others as filtered."""

    in_each_process = True

    reads_columns = True

    class Config(Settings):
        """The condition of the filter."""

        where: ExpressionText = Field(description="an expression; records for which it is true are kept")

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        try:
            self.where = Expression(config.where, context.fields)
        except ValueError as error:
            raise ConfigError(f"where: {error}") from None

    def process(self, records: list[Record], now: Now) -> Processed:
        chosen, rejects = self.where.select(records)
        return Processed(
            chosen,
            filtered=len(records) - len(chosen) - len(rejects),
            rejects=[BadRecord(record, bad.reason, bad.detail) for record, bad in rejects],
        )

    def process_columns(self, columns: FlatColumns, now: Now) -> Processed:
        keep = self.where.tests(columns)
        if keep is None:
            return self.process(columns.records(), now)
        chosen = columns.chosen(keep)
        return Processed([], filtered=len(columns) - len(chosen), columns=chosen)

    def fields_after(self) -> frozenset[str] | None:
        return self.context.fields
