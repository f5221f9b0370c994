"""The ledger's table and views in SQL. What their columns mean to a reader is in docs/reference/books.md."""

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
"""Written in the same words in the index and in queries, or SQLite would not use the index."""

_RUNS = f"CREATE INDEX IF NOT EXISTS ledger_runs ON ledger (run_id, counter) WHERE {_RUN_ROWS}"

_SUMMARY = """
CREATE VIEW ledger_summary AS
SELECT
  run_id,
  source,
  coalesce(sum(n) FILTER (WHERE counter = 'received'), 0) AS received,
  coalesce(sum(n) FILTER (WHERE counter = 'decoded'), 0) AS decoded,
  coalesce(sum(n) FILTER (WHERE counter = 'rejected'), 0) AS rejected,
  coalesce(sum(n) FILTER (WHERE counter = 'dropped'), 0) AS dropped,
  coalesce(sum(n) FILTER (WHERE counter = 'kernel_dropped'), 0) AS kernel_dropped,
  coalesce(sum(n) FILTER (WHERE counter = 'filtered'), 0) AS filtered,
  coalesce(sum(n) FILTER (WHERE counter = 'stored'), 0) AS stored,
  coalesce(sum(n) FILTER (WHERE counter = 'replaced'), 0) AS replaced,
  coalesce(sum(n) FILTER (WHERE counter IN ('waiting', 'in_flight', 'pending')), 0) AS in_flight
FROM ledger
WHERE source <> ''
GROUP BY run_id, source
"""

_SINKS = """
CREATE VIEW ledger_sinks AS
SELECT
  run_id,
  sink,
  coalesce(sum(n) FILTER (WHERE counter = 'offered'), 0) AS offered,
  coalesce(sum(n) FILTER (WHERE counter = 'stored'), 0) AS stored,
  coalesce(sum(n) FILTER (WHERE counter = 'replaced'), 0) AS replaced,
  coalesce(sum(n) FILTER (WHERE counter = 'unconfirmed'), 0) AS unconfirmed,
  coalesce(sum(n) FILTER (WHERE counter = 'expired'), 0) AS expired,
  coalesce(sum(n) FILTER (WHERE counter = 'unmatched'), 0) AS unmatched,
  coalesce(sum(n) FILTER (WHERE counter = 'rejected'), 0) AS rejected,
  coalesce(sum(n) FILTER (WHERE counter = 'dropped'), 0) AS dropped,
  coalesce(sum(n) FILTER (WHERE counter = 'pending'), 0) AS pending
FROM ledger
WHERE sink <> ''
GROUP BY run_id, sink
"""


# An unclean end leaves a time in which records may have been lost uncounted: from the last moment known for
# sure to the next start. A minute that overlaps it has no percentage. Nothing is rounded: 100 means all.
# Replays are left out: their letters were received, and counted, by the run that rejected them. A replay
# that was killed has lost nothing: the letters that it had not stored are still in the dead letters.
def completeness(only: str = "1") -> str:
    """The query for how complete each minute of each source is, of the entries for which `only` is true."""
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
"""  # noqa: S608 - our own words, and names that are quoted


_COMPLETENESS = f"CREATE VIEW completeness AS {completeness()}"

STATEMENTS = (
    _LEDGER, _RUNS,
    "DROP VIEW IF EXISTS ledger_summary", _SUMMARY,
    "DROP VIEW IF EXISTS ledger_sinks", _SINKS,
    "DROP VIEW IF EXISTS completeness", _COMPLETENESS,
)  # fmt: skip
"""Make what is missing; views are made anew, as a newer version may know better."""

UPSERT_PLACES = "(?, ?, ?, ?, ?, ?, ?, ?, ?)"
UPSERT = (
    "INSERT INTO ledger (at, run_id, interval_s, source, pipeline, sink, counter, reason, n) VALUES {}"
    " ON CONFLICT (at, run_id, source, pipeline, sink, counter, reason) DO UPDATE SET n = n + excluded.n"
)

WRITTEN = (
    "SELECT source, pipeline, sink, counter, reason, sum(n) FROM ledger WHERE run_id = ?"
    " GROUP BY source, pipeline, sink, counter, reason"
)
"""What the table says of a run."""

FOLD_UNTIL = f"""
SELECT max(at) FROM (
  SELECT at FROM ledger WHERE at > '' AND at < ? AND NOT {_RUN_ROWS} ORDER BY at LIMIT ?
)
"""  # noqa: S608 - our own words
"""The time up to which so many rows from before a moment reach; NULL where there are none."""

_FOLDED = f"at > '' AND at <= ? AND NOT {_RUN_ROWS}"
FOLD = (
    f"""
INSERT INTO ledger (at, run_id, interval_s, source, pipeline, sink, counter, reason, n)
SELECT '', run_id, 0, source, pipeline, sink, counter, reason, sum(n) FROM ledger WHERE {_FOLDED}
GROUP BY run_id, source, pipeline, sink, counter, reason
ON CONFLICT (at, run_id, source, pipeline, sink, counter, reason) DO UPDATE SET n = n + excluded.n
""",  # noqa: S608 - our own words
    f"DELETE FROM ledger WHERE {_FOLDED}",  # noqa: S608 - our own words
)
"""Rows up to a time become one row for each number of a run, at the time '': every sum stays what it was."""

UNENDED_RUNS = f"""
SELECT run_id, max(reason), (
  SELECT strftime('%Y-%m-%dT%H:%M:%f000Z', at, printf('-%.3f seconds', interval_s))
  FROM ledger AS last WHERE last.run_id = runs.run_id ORDER BY at DESC LIMIT 1
)
FROM ledger AS runs
WHERE {_RUN_ROWS}
GROUP BY run_id
HAVING count(*) FILTER (WHERE counter <> 'start') = 0
"""  # noqa: S608 - our own words
"""Runs with a start and no end, each with its kind and the time up to which all of it is known.

That is one interval before its last row: a sink may have committed in an interval that had just begun,
when the flush of the one before it was still to come.
"""
