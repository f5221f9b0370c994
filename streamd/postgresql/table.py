"""A table as configured, and the statements that create or extend it on the server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.listed import listed
from streamd.core.schema import FieldType
from streamd.postgresql.column_types import CREATED_AS, TAKEN_BY, ColumnType
from streamd.postgresql.named_view import ServerNamedView
from streamd.postgresql.names import column_fault, name_fault, quote
from streamd.postgresql.partitions import TablePartitions, keep_others_out
from streamd.sqlite.table import MOST_COLUMNS

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

_TABLE = """
SELECT c.oid::bigint, c.relkind::text, pg_get_partkeydef(c.oid), a.attname::text,
       nullif(p.partdefid, 0::oid)::regclass::text,
       EXISTS (SELECT FROM pg_constraint d WHERE d.conrelid = c.oid AND d.condeferred)
       OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tginitdeferred)
FROM pg_class c LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid
LEFT JOIN pg_attribute a
  ON a.attrelid = c.oid AND a.attnum = p.partattrs[0] AND p.partstrat = 'r' AND p.partnatts = 1
WHERE c.oid = to_regclass(%s)"""
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "i": "an index"}
_COLUMNS = """
SELECT attname, format_type(atttypid, NULL),
       CASE WHEN atttypid = 'varchar'::regtype AND atttypmod > 4 THEN atttypmod - 4 END,
       attgenerated <> '' OR attidentity = 'a',
       attnotnull AND NOT atthasdef AND attidentity = ''
FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
_INDEXES = """
SELECT i.indisunique,
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k(n, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n ORDER BY k.place)
FROM pg_index i
WHERE i.indrelid = %s AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indisvalid AND i.indimmediate"""


@dataclass(slots=True)
class FoundTable:
    """The table on the server: columns with their types, and the names of those that are special."""

    oid: int
    partitioned: bool = False
    partition_key: str | None = None
    """How it is partitioned, as `RANGE (at)`."""
    partition_column: str | None = None
    """The column by whose ranges it is partitioned. None if it is not, or in another way."""
    default_partition: str | None = None
    checks_at_commit: bool = False
    """Whether a constraint or trigger looks at the rows only when they are committed."""
    types: dict[str, ColumnType] = field(default_factory=dict)
    computed: frozenset[str] = frozenset()
    must_be_filled: list[str] = field(default_factory=list)


class ServerTable:
    """One table of a database. `columns` maps each column, in order, to the type of its field.

    Names are always quoted. `partitions` makes its partitions; without, a partitioned table is left as it is.
    `names` are the names of numbers in columns, for the view beside the table.
    Raises `ConfigError` if PostgreSQL cannot have such a table.
    """

    def __init__(
        self,
        name: str,
        columns: Mapping[str, FieldType],
        *,
        unique: Sequence[str] = (),
        indexes: Sequence[Sequence[str]] = (),
        updates: bool = False,
        partitions: TablePartitions | None = None,
        names: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self.partitions = partitions
        self.columns = dict(columns)
        self._view = ServerNamedView(name, names) if names else None
        self.unique = tuple(unique)
        self.indexes = [tuple(index) for index in indexes]
        self._rights = ["INSERT", *(["SELECT"] if unique else []), *(["UPDATE"] if updates else [])]
        self._check_names()
        self.sql_name = ".".join(map(quote, name.split(".", 1)))

    def _check_names(self) -> None:
        for part in self.name.split(".", 1):
            if fault := name_fault(part):
                raise ConfigError(f"{self.name!r} cannot be a table: {fault}", ("table",))
        if len(self.columns) > MOST_COLUMNS:
            raise ConfigError(f"{self.name!r} has {len(self.columns)} columns, {MOST_COLUMNS} are allowed")
        for column in self.columns:
            if fault := column_fault(column):
                raise ConfigError(f"{column!r} cannot be a column: {fault}")
        self._check_indexes()

    def _check_indexes(self) -> None:
        for index in (self.unique, *self.indexes):
            for column in index:
                if column not in self.columns:
                    raise ConfigError(f"the table {self.name!r} has no column {column!r} to index")
            if len(set(index)) != len(index):
                raise ConfigError(f"an index of {self.name!r} names a column twice: {', '.join(index)}")
        if not all(self.indexes):
            raise ConfigError(f"an index of {self.name!r} names no column")

    def ensure(self, connection: "Connection") -> FoundTable:
        """Create or extend the table. Raises `ConfigError`, `EnvironmentFault` or `psycopg.Error`.

        Adds missing columns and indexes, and waits for locks only if one is missing.
        """
        import psycopg  # noqa: PLC0415 - a table is also described where the driver is missing

        statement = ""
        if self.changes(connection):
            try:
                with connection.transaction():
                    keep_others_out(connection, self.sql_name)
                    for statement in self.changes(connection):
                        connection.execute(statement)
            except psycopg.errors.UniqueViolation:
                if self.find(connection) is None:  # two sinks made it at the same time
                    raise
                raise self._equal_rows() from None
            except psycopg.errors.InsufficientPrivilege as error:
                raise EnvironmentFault(
                    f"the user {connection.info.user!r} of {connection.info.dbname!r} may not prepare the"
                    f" table {self.name!r} ({error.diag.message_primary}): let its owner run {statement};"
                ) from None
        found = self.find(connection)
        if found is None:
            raise EnvironmentFault(f"the table {self.name!r} was removed while the sink prepared it")
        self._check_rights(connection, found)
        return found

    def _check_rights(self, connection: "Connection", found: FoundTable) -> None:
        rows = connection.execute(
            "SELECT r FROM unnest(%s::text[]) AS r WHERE NOT has_table_privilege(%s::oid, r)",
            (self._rights, found.oid),
        ).fetchall()
        if rows:
            missing = listed(right for (right,) in rows)
            raise EnvironmentFault(
                f"the user {connection.info.user!r} may not write the table {self.name!r}: let its owner run"
                f" GRANT {missing} ON {self.sql_name} TO {quote(connection.info.user)};"
            )

    def _equal_rows(self) -> ConfigError:
        keys = ", ".join(map(quote, self.unique))
        find = f"SELECT {keys}, count(*) FROM {self.sql_name}"  # noqa: S608 - names are quoted
        return ConfigError(
            f"the table {self.name!r} has rows that are equal in unique = {list(self.unique)}; see"
            f" {find} GROUP BY {keys} HAVING count(*) > 1;"
        )

    def find(self, connection: "Connection") -> FoundTable | None:
        """The table on the server; None if it does not exist. Raises `ConfigError` for a view or the like."""
        row = connection.execute(_TABLE, (self.sql_name,)).fetchone()
        if row is None:
            return None
        oid, kind, *partitioning = row
        if kind not in ("r", "p"):
            raise ConfigError(
                f"{self.name!r} is {_KINDS.get(kind, 'no table')}, not a table: name another table"
            )
        found = FoundTable(oid, kind == "p", *partitioning)
        computed = set()
        for name, type_name, length, is_computed, must_be_filled in connection.execute(_COLUMNS, (oid,)):
            found.types[name] = ColumnType(type_name, length)
            if is_computed:
                computed.add(name)
            elif must_be_filled:
                found.must_be_filled.append(name)
        found.computed = frozenset(computed)
        return found

    def changes(self, connection: "Connection") -> list[str]:
        """The statements that `ensure` would run. Only reads. Raises `ConfigError` as `ensure` does."""
        found = self.find(connection)
        statements = [self._create_sql()] if found is None else self._missing_columns(found)
        statements += self._index_statements(connection, found)
        if self.partitions is not None:
            if found is not None:
                self._check_partitioning(self.partitions.column, found)
            statements += self.partitions.changes(connection, None if found is None else found.oid)
        return statements + self.view_changes(connection, found)

    def view_changes(self, connection: "Connection", found: FoundTable | None) -> list[str]:
        """The statements that create or extend the view with the names of numbers. Only reads."""
        if self._view is None:
            return []
        columns = dict.fromkeys((*(found.types if found is not None else ()), *self.columns))
        return self._view.changes(connection, None if found is None else found.oid, columns)

    def _check_partitioning(self, column: str, found: FoundTable) -> None:
        if not found.partitioned:
            raise ConfigError(
                f"the table {self.name!r} is not partitioned, and no table can become so: {self._away}. Its"
                " rows can be a partition of the new table; docs/how-to/postgresql.md says how"
            )
        if found.partition_column != column:
            raise ConfigError(
                f"the table {self.name!r} is partitioned by {found.partition_key}, the configuration says"
                f" RANGE ({column}): {self._away}"
            )
        if found.default_partition is not None:
            raise ConfigError(
                f"the table {self.name!r} has the default partition {found.default_partition}, which would"
                f" take the rows of new ones: ALTER TABLE {self.sql_name} DETACH PARTITION"
                f" {found.default_partition};"
            )

    def _create_sql(self) -> str:
        by = None if self.partitions is None else self.partitions.column
        columns = ", ".join(
            f"{quote(column)} {CREATED_AS[kind]}{' NOT NULL' if column in (*self.unique, by) else ''}"
            for column, kind in self.columns.items()
        )
        partitioned = "" if by is None else f" PARTITION BY RANGE ({quote(by)})"
        return f"CREATE TABLE {self.sql_name} ({columns}){partitioned}"

    @property
    def _away(self) -> str:
        """What to do with a table that does not fit."""
        new_name = quote(self.name.rpartition(".")[2] + "_old")
        return f"name another table, or move it away: ALTER TABLE {self.sql_name} RENAME TO {new_name};"

    def add_column_sql(self, column: str, kind: FieldType) -> str:
        """The statement that adds a column, if nobody else has added it."""
        return f"ALTER TABLE {self.sql_name} ADD COLUMN IF NOT EXISTS {quote(column)} {CREATED_AS[kind]}"

    def _missing_columns(self, found: FoundTable) -> list[str]:
        """The statements that add missing columns. Raises `ConfigError` for a column of another type."""
        alter = f"ALTER TABLE {self.sql_name}"
        away = self._away
        for column, kind in self.columns.items():
            there = found.types.get(column)
            if there is None:
                continue
            if column in found.computed:
                raise ConfigError(
                    f"the column {column!r} of {self.name!r} is computed and cannot be written: {away}"
                )
            if there.name not in TAKEN_BY[kind]:
                raise ConfigError(
                    f"the column {column!r} of {self.name!r} is {there}, the configuration says {kind}, which"
                    f" needs {' or '.join(TAKEN_BY[kind])}. To keep the old values beside the new ones, run:"
                    f" {alter} RENAME COLUMN {quote(column)} TO {quote(f'{column}_old')};"
                )
        for column in found.must_be_filled:
            if column not in self.columns:
                raise ConfigError(
                    f"the column {column!r} of {self.name!r} is NOT NULL and nothing in the configuration"
                    f" fills it: add it to the schema, {away}"
                )
        return [
            self.add_column_sql(column, kind)
            for column, kind in self.columns.items()
            if column not in found.types
        ]

    def _index_statements(self, connection: "Connection", found: FoundTable | None) -> list[str]:
        """The statements that create the missing indexes. An equal index under another name counts."""
        have: set[tuple[bool, tuple[str, ...]]] = set()
        if found is not None:
            for unique, columns in connection.execute(_INDEXES, (found.oid,)):
                # ON CONFLICT accepts the columns of a unique index in any order.
                have.add((unique, tuple(sorted(columns)) if unique else tuple(columns)))
        plain = [
            index
            for index in dict.fromkeys(self.indexes)
            if (False, index) not in have and (True, tuple(sorted(index))) not in have
        ]
        lacks_key = bool(self.unique) and (True, tuple(sorted(self.unique))) not in have
        return [
            *([self._index_sql("UNIQUE ", self.unique)] if lacks_key else []),
            *(self._index_sql("", index) for index in plain),
        ]

    def _index_sql(self, unique: str, columns: Sequence[str]) -> str:
        names = ", ".join(map(quote, columns))
        return f"CREATE {unique}INDEX ON {self.sql_name} ({names})"  # the server chooses a free name
