"""A view beside a table, with the names of numbers: `severity_name` beside `severity`."""

from collections.abc import Mapping, Sequence

from streamd.sqlite.fetches import Fetches
from streamd.sqlite.quote import quote

_MARK = "/* names of streamd */"


class NamedView:
    """The view `TABLE_named`: all columns of the table, and `COLUMN_name` for each column with names.

    `names` holds, for each column, the names of its values from 0. Another value has the name NULL. A column
    `COLUMN_name` of the table's own hides the one of the view.
    """

    def __init__(self, table: str, columns: Sequence[str], names: Mapping[str, Sequence[str]]) -> None:
        self.name = f"{table}_named"
        own = {column.lower() for column in columns}
        named = [f"{case} AS {quote(name)}" for name, case in cases(names).items() if name.lower() not in own]
        select = f"SELECT {', '.join(['*', *named])} FROM {quote(table)}"  # noqa: S608 - names are quoted
        self.sql = f"CREATE VIEW {quote(self.name)} AS {_MARK} {select}"
        """The statement that creates the view. It also shows columns that are added to the table later."""

    async def changes(self, database: Fetches) -> list[str]:
        """The statements that create the view, or replace one that streamd made with other names.

        A table, index or view of the user's own that has the name of the view is left alone.
        """
        there = await database.fetch(
            "SELECT type, sql FROM sqlite_schema WHERE name = ? COLLATE NOCASE", (self.name,)
        )
        if not there:
            return [self.sql]
        kind, sql = there[0]
        if kind != "view" or _MARK not in sql or sql == self.sql:
            return []
        return [f"DROP VIEW {quote(self.name)}", self.sql]


def cases(names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The expression of each column `COLUMN_name`, in SQL that SQLite and PostgreSQL know."""
    return {
        f"{column}_name": f"CASE {quote(column)} {_whens(values)} END" for column, values in names.items()
    }


def _whens(values: Sequence[str]) -> str:
    return " ".join(f"WHEN {number} THEN {_text(name)}" for number, name in enumerate(values))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
