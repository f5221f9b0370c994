"""The ledger's table and views in SQL. docs/reference/books.md explains their columns."""

from streamd.core.books import SUMS, DeliveryBook, FrameBook

_LEDGER = """
CREATE TABLE IF NOT EXISTS ledger (
  at TEXT NOT NULL,
  run_id TEXT NOT NULL,
  interval_s REAL NOT NULL,
  source TEXT NOT NULL,
  pipeline TEXT NOT NULL,
  sink TEXT NOT NULL,
  counter TEXT NOT NULL,
  reason TEXT NOT NULL,
  n INTEGER,
  PRIMARY KEY (at, run_id, source, pipeline, sink, counter, reason)
) STRICT, WITHOUT ROWID
"""

_RUN_ROWS = "counter IN ('start', 'stop', 'unclean')"
"""The index and the queries share this exact text, because SQLite would not use the index otherwise."""

_RUNS = f"CREATE INDEX IF NOT EXISTS ledger_runs ON ledger (run_id, counter) WHERE {_RUN_ROWS}"

_OF_STORED = ("unconfirmed", "expired")
"""Counters of sinks that count a part of `stored`."""


def _column(name: str, counters: str) -> str:
    return f"  coalesce(sum(n) FILTER (WHERE counter IN ({counters})), 0) AS {name}"


def _summary() -> str:
    """The view `ledger_summary`: for each source the terms marked `in_summary`, summed over all books."""
    columns: dict[str, str] = {}
    for book in SUMS:
        columns |= {term.name: f"'{term.name}'" for term in book.terms if term.in_summary}
        if book is FrameBook:
            columns["kernel_dropped"] = "'kernel_dropped'"
    under_way = [term.name for book in SUMS for term in book.terms if term.gauge or term.side == "left"]
    columns["in_flight"] = ", ".join(f"'{name}'" for name in under_way)
    listed = ",\n".join(_column(name, counters) for name, counters in columns.items())
    return f"""
CREATE VIEW ledger_summary AS
SELECT
  run_id,
  source,
{listed}
FROM ledger
WHERE source <> ''
GROUP BY run_id, source
"""  # noqa: S608 - no user input


def _sinks() -> str:
    """The view `ledger_sinks`: for each sink the terms of its deliveries."""
    names: list[str] = []
    for term in DeliveryBook.terms:
        names += (term.name, *_OF_STORED) if term.name == "replaced" else (term.name,)
    listed = ",\n".join(_column(name, f"'{name}'") for name in names)
    return f"""
CREATE VIEW ledger_sinks AS
SELECT
  run_id,
  sink,
{listed}
FROM ledger
WHERE sink <> ''
GROUP BY run_id, sink
"""  # noqa: S608 - no user input


# After an unclean end, records may have been lost uncounted between the last known time and the next start.
# A minute that overlaps this time has no percentage. Nothing is rounded: 100 means that no record was lost.
# Replays are excluded, because the run that rejected their letters has counted them as received. A killed
# replay has lost nothing: letters that it had not stored are still in the dead letters.
def completeness(only: str = "1") -> str:
    """The query for the completeness of each minute of each source, over entries for which `only` is true."""
    return f"""
WITH
unknown(first_minute, until) AS MATERIALIZED (
  SELECT
    substr(at, 1, 17) || '00.000000Z',
    strftime('%Y-%m-%dT%H:%M:%f', at, printf('%.3f seconds', interval_s))
  FROM ledger
  WHERE {_RUN_ROWS} AND counter = 'unclean' AND reason <> 'replay'
),
replays(run_id) AS MATERIALIZED (
  SELECT run_id FROM ledger WHERE {_RUN_ROWS} AND counter = 'start' AND reason = 'replay'
),
counted AS (
  SELECT
    substr(at, 1, 17) || '00.000000Z' AS minute,
    source,
    coalesce(sum(n) FILTER (WHERE counter = 'received'), 0) AS received,
    coalesce(sum(n) FILTER (WHERE counter = 'kernel_dropped'), 0) AS kernel_dropped,
    coalesce(sum(n) FILTER (WHERE counter = 'rejected'), 0) AS rejected,
    coalesce(sum(n) FILTER (WHERE counter IN ('dropped', 'kernel_dropped')), 0) AS lost
  FROM ledger
  WHERE source <> '' AND at <> '' AND counter IN ('received', 'rejected', 'dropped', 'kernel_dropped')
    AND run_id NOT IN (SELECT run_id FROM replays) AND {only}
  GROUP BY 1, 2
)
SELECT
  minute,
  source,
  received,
  rejected,
  lost,
  CASE
    WHEN EXISTS (SELECT 1 FROM unknown WHERE first_minute <= minute AND minute <= until) THEN NULL
    WHEN lost = 0 THEN 100.0
    ELSE 100.0 * max(0, received + kernel_dropped - lost) / (received + kernel_dropped)
  END AS percent
FROM counted
"""  # noqa: S608 - no user input, and names that are quoted


_COMPLETENESS = f"CREATE VIEW completeness AS {completeness()}"


def statements() -> tuple[str, ...]:
    """Statements that make the table and replace every view, because a new version may have more terms."""
    return (
        _LEDGER, _RUNS,
        "DROP VIEW IF EXISTS ledger_summary", _summary(),
        "DROP VIEW IF EXISTS ledger_sinks", _sinks(),
        "DROP VIEW IF EXISTS completeness", _COMPLETENESS,
    )  # fmt: skip


UPSERT_PLACES = "(?, ?, ?, ?, ?, ?, ?, ?, ?)"
UPSERT = (
    "INSERT INTO ledger (at, run_id, interval_s, source, pipeline, sink, counter, reason, n) VALUES {}"
    " ON CONFLICT (at, run_id, source, pipeline, sink, counter, reason) DO UPDATE SET n = n + excluded.n"
)

WRITTEN = (
    "SELECT source, pipeline, sink, counter, reason, sum(n) FROM ledger WHERE run_id = ?"
    " GROUP BY source, pipeline, sink, counter, reason"
)
"""The sums of one run's rows, by key."""

FOLD_UNTIL = f"""
SELECT max(at) FROM (
  SELECT at FROM ledger WHERE at > '' AND at < ? AND NOT {_RUN_ROWS} ORDER BY at LIMIT ?
)
"""  # noqa: S608 - no user input
"""The time of the last of the oldest rows before a given time, up to a limit. NULL if there are none."""

_FOLDED = f"at > '' AND at <= ? AND NOT {_RUN_ROWS}"
FOLD = (
    f"""
INSERT INTO ledger (at, run_id, interval_s, source, pipeline, sink, counter, reason, n)
SELECT '', run_id, 0, source, pipeline, sink, counter, reason, sum(n) FROM ledger WHERE {_FOLDED}
GROUP BY run_id, source, pipeline, sink, counter, reason
ON CONFLICT (at, run_id, source, pipeline, sink, counter, reason) DO UPDATE SET n = n + excluded.n
""",  # noqa: S608 - no user input
    f"DELETE FROM ledger WHERE {_FOLDED}",  # noqa: S608 - no user input
)
"""Replaces rows up to a time by one row for each number of a run, with `at` = ''. No sum changes."""

UNENDED_RUNS = f"""
SELECT run_id, max(reason), (
  SELECT strftime('%Y-%m-%dT%H:%M:%f000Z', at, printf('-%.3f seconds', interval_s))
  FROM ledger AS last WHERE last.run_id = runs.run_id ORDER BY at DESC LIMIT 1
)
FROM ledger AS runs
WHERE {_RUN_ROWS}
GROUP BY run_id
HAVING count(*) FILTER (WHERE counter <> 'start') = 0
"""  # noqa: S608 - no user input
"""Runs with a start and no end, each with its kind and the time up to which its numbers are complete.

That time is one interval before the run's last row: a sink may have committed in a new interval before the
flush of the previous interval was written.
"""
