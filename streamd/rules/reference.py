"""The check `reference`: values are in a table, which is read again when its file changes."""

from pathlib import Path

from streamd.core.batch import Record
from streamd.core.counters import Counters
from streamd.lookup_tables.table import TableSettings, key_text
from streamd.lookup_tables.table_file import TableFile
from streamd.rules.checks import Check
from streamd.rules.settings import RuleSettings
from streamd.rules.shown import shown


class Reference(Check):
    """A row of the table has the values of the fields. If one of them is missing or null, the record is good.

    Values are compared as texts: 7, 7.0 and "7" are equal, "007" is another value. The user opens `table`,
    and holds its lock while it checks records.
    """

    def __init__(self, settings: RuleSettings, base_dir: Path, counters: Counters) -> None:
        super().__init__()
        self._fields = settings.fields or [settings.field or ""]
        table = TableSettings(
            base_dir / (settings.path or ""),
            settings.table,
            tuple(settings.columns or self._fields),
            (),
            settings.delimiter,
            max_size_bytes=settings.max_size,
            repeats=True,
        )
        self.table = TableFile(table, settings.check_every, counters)
        if settings.field is not None:
            self.condition = "value is None or (value if type(value) is str else text(value)) in table.rows"
            self.names = {"text": key_text, "table": self.table}

    def fault(self, record: Record) -> str | None:
        values = [record.get(name) for name in self._fields]
        if any(value is None for value in values):
            return None
        texts = [key_text(value) for value in values]
        if (texts[0] if len(texts) == 1 else tuple(texts)) in (self.table.rows or ()):
            return None
        return f"{', '.join(map(shown, values))} is not in {self.table.settings.path.name}"
