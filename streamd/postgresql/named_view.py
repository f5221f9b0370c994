"""A view beside a table of PostgreSQL, with the names of numbers: `severity_name` beside `severity`."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streamd.postgresql.names import name_fault, quote
from streamd.sqlite.named_view import cases

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

_MARK = "names of streamd"
_TABLE = """
SELECT n.nspname::text, has_schema_privilege(n.oid, 'CREATE') AND has_table_privilege(c.oid, 'SELECT')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s"""
_VIEW = """
WITH uses AS (SELECT r.ev_class AS reader, d.refobjid AS used
              FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
              WHERE d.refclassid = 'pg_class'::regclass)
SELECT c.oid::bigint, c.relkind::text, coalesce(obj_description(c.oid, 'pg_class'), ''),
       pg_has_role(c.relowner, 'USAGE'),
       EXISTS (SELECT FROM uses u WHERE u.reader = c.oid AND u.used = %s),
       EXISTS (SELECT FROM uses u WHERE u.used = c.oid AND u.reader <> c.oid)
FROM pg_class c WHERE c.oid = to_regclass(%s)"""
_COLUMNS = """
SELECT v.attname::text, (v.atttypid, v.atttypmod) = (t.atttypid, t.atttypmod)
FROM pg_attribute v LEFT JOIN pg_attribute t ON t.attrelid = %s AND t.attname = v.attname AND t.attnum > 0
WHERE v.attrelid = %s AND v.attnum > 0 AND NOT v.attisdropped ORDER BY v.attnum"""


class ServerNamedView:
    """The view `TABLE_named`, in the schema of the table: as `sqlite.named_view.NamedView`.

    A view of PostgreSQL has the columns that its table had when it was made, so new columns of the table are
    added to it behind the others. It is known as streamd's by its comment.
    """

    def __init__(self, table: str, names: Mapping[str, Sequence[str]]) -> None:
        self._schema, _, self._table = table.rpartition(".")
        self._name = f"{self._table}_named"
        self._names = names

    def changes(self, connection: "Connection", oid: int | None, columns: Iterable[str]) -> list[str]:
        """The statements that create the view, or bring it up to date. Only reads.

        `oid` is the number of the table, None if it has yet to be made, and `columns` are all its columns, in
        order. There are no statements where the name is taken or too long, where the user lacks the rights to
        create a view and to read the table, and where other views use a view that would have to be made anew.
        """
        if name_fault(self._name):
            return []
        if oid is None:
            found = connection.execute(
                "SELECT coalesce(%s, current_schema()::text), true", (self._schema or None,)
            )
        else:
            found = connection.execute(_TABLE, (oid,))
        schema, may_create = found.fetchone() or ("", False)
        if not may_create:
            return []
        table, view = (".".join(quote(part) for part in (schema, name) if part)
                       for name in (self._table, self._name))  # fmt: skip
        wanted = {column: quote(column) for column in columns}
        made = {
            name: text
            for name, text in cases(self._names).items()
            if name not in wanted and not name_fault(name)
        }
        wanted |= {name: f"{text} AS {quote(name)}" for name, text in made.items()}
        digest = hashlib.sha256(repr((table, sorted(wanted.items()))).encode()).hexdigest()
        comment = f"{_MARK} ({digest[:12]}); streamd leaves a view with another comment alone"
        there = connection.execute(_VIEW, (oid, view)).fetchone()
        drop = []
        if there is not None:
            view_oid, kind, old_comment, may_replace, is_of_table, is_used = there
            is_ours = kind == "v" and old_comment.startswith(_MARK)
            if not is_ours or not may_replace or (is_of_table and old_comment == comment):
                return []
            old = connection.execute(_COLUMNS, (oid, view_oid)).fetchall()
            if is_of_table and all(has_same_type or name in made for name, has_same_type in old):
                wanted = {name: wanted[name] for name, _ in old} | wanted
            elif is_used:
                return []
            else:
                drop = [f"DROP VIEW {view}"]
        select = f"SELECT {', '.join(wanted.values())} FROM {table}"  # noqa: S608 - names are quoted
        create = "CREATE OR REPLACE VIEW" if there is not None and not drop else "CREATE VIEW"
        return [*drop, f"{create} {view} AS {select}", f"COMMENT ON VIEW {view} IS '{comment}'"]
