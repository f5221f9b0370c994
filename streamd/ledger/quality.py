"""The table `quality`: the counts of rules by minute. docs/how-to/quality.md explains its columns."""

from collections.abc import Mapping
from typing import Any

from streamd.core.quality import Quality, RuleCount, RuleKey
from streamd.sqlite.database import Database

_TABLE = """
CREATE TABLE IF NOT EXISTS quality (
  minute TEXT NOT NULL,
  source TEXT NOT NULL,
  pipeline TEXT NOT NULL,
  rule TEXT NOT NULL,
  field TEXT NOT NULL,
  checked INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  fixed INTEGER NOT NULL,
  worst_sender TEXT,
  worst_failed INTEGER NOT NULL,
  dead_letter INTEGER,
  lag_s REAL,
  PRIMARY KEY (minute, source, pipeline, rule, field)
) STRICT, WITHOUT ROWID
"""

# `complete` is 0 if the daemon may have ended during these minutes without writing its last counts. Records
# that are read again after that count twice, in the minute of the next start or the one after it.
_NOW = """
CREATE VIEW quality_now AS
WITH
last(minute) AS MATERIALIZED (SELECT max(minute) FROM quality),
recent AS MATERIALIZED (
  SELECT * FROM quality
  WHERE minute <> ''
    AND minute >= (SELECT strftime('%Y-%m-%dT%H:%M:00.000000Z', minute, '-14 minutes') FROM last)
),
unknown(first, until) AS MATERIALIZED (
  SELECT substr(at, 1, 17), strftime('%Y-%m-%dT%H:%M:%f', at, printf('%.3f seconds', interval_s + 60))
  FROM ledger
  WHERE counter IN ('start', 'stop', 'unclean') AND counter = 'unclean' AND reason <> 'replay'
),
counted AS (
  SELECT
    source,
    pipeline,
    rule,
    field,
    sum(checked) AS checked,
    sum(failed) AS failed,
    sum(fixed) AS fixed,
    100.0 * sum(failed) / nullif(sum(checked), 0) AS percent,
    100.0 * sum(failed) FILTER (WHERE minute = (SELECT minute FROM last))
      / nullif(sum(checked) FILTER (WHERE minute = (SELECT minute FROM last)), 0) AS percent_last_minute,
    max(dead_letter) AS dead_letter,
    max(lag_s) AS lag_s,
    min(minute) AS since,
    max(minute) AS until
  FROM recent
  GROUP BY source, pipeline, rule, field
)
SELECT
  source,
  pipeline,
  rule,
  field,
  checked,
  failed,
  fixed,
  percent,
  percent_last_minute,
  (
    SELECT worst_sender FROM recent
    WHERE (recent.source, recent.pipeline, recent.rule, recent.field)
        = (counted.source, counted.pipeline, counted.rule, counted.field) AND worst_failed > 0
    ORDER BY worst_failed DESC LIMIT 1
  ) AS worst_sender,
  dead_letter,
  lag_s,
  since,
  until,
  NOT EXISTS (
    SELECT 1 FROM unknown WHERE unknown.first <= counted.until AND counted.since <= unknown.until
  ) AS complete
FROM counted
ORDER BY failed = 0, percent DESC, source, pipeline, rule, field
"""

STATEMENTS = (_TABLE, "DROP VIEW IF EXISTS quality_now", _NOW)
"""Statements that make the table and its view, after the table of the ledger."""

_PLACES = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
UPSERT = f"""
INSERT INTO quality (
  minute, source, pipeline, rule, field,
  checked, failed, fixed, worst_sender, worst_failed, dead_letter, lag_s
)
VALUES {_PLACES}
ON CONFLICT (minute, source, pipeline, rule, field) DO UPDATE SET
  checked = checked + excluded.checked,
  failed = failed + excluded.failed,
  fixed = fixed + excluded.fixed,
  worst_sender = iif(excluded.worst_failed >= worst_failed, excluded.worst_sender, worst_sender),
  worst_failed = max(worst_failed, excluded.worst_failed),
  dead_letter = coalesce(excluded.dead_letter, dead_letter),
  lag_s = max(coalesce(lag_s, excluded.lag_s), coalesce(excluded.lag_s, lag_s))
"""  # noqa: S608 - no user input

FOLD = (
    """
INSERT INTO quality (
  minute, source, pipeline, rule, field,
  checked, failed, fixed, worst_sender, worst_failed, dead_letter, lag_s
)
SELECT '', source, pipeline, rule, field, sum(checked), sum(failed), sum(fixed), NULL, 0, NULL, max(lag_s)
FROM quality WHERE minute > '' AND minute < ? GROUP BY source, pipeline, rule, field
ON CONFLICT (minute, source, pipeline, rule, field) DO UPDATE SET
  checked = checked + excluded.checked,
  failed = failed + excluded.failed,
  fixed = fixed + excluded.fixed,
  lag_s = max(coalesce(lag_s, excluded.lag_s), coalesce(excluded.lag_s, lag_s))
""",
    "DELETE FROM quality WHERE minute > '' AND minute < ?",
)
"""Replaces the rows before a minute by one row for each rule, with `minute` = ''. No sum changes."""


class QualityTable:
    """Writes the counts of rules, in the transactions of the ledger."""

    def __init__(self, quality: Quality) -> None:
        self.quality = quality
        self._taken: dict[RuleKey, RuleCount] = {}
        self._minute = ""
        self._senders: dict[RuleKey, RuleCount] = {}
        """The senders of failed records in the current minute."""

    async def write(self, db: Database, minute: str) -> None:
        """Write all new counts in the open transaction. Call `committed` or `withdraw` afterwards."""
        self._taken = self.quality.take()
        if minute != self._minute:
            self._minute, self._senders = minute, {}
        await db.execute_many(UPSERT, [self._row(minute, *item) for item in self._taken.items()])

    def _row(self, minute: str, key: RuleKey, count: RuleCount) -> tuple[Any, ...]:
        whole = self._senders.setdefault(key, RuleCount())
        whole.add_senders(count.senders)
        worst, n = max(whole.senders.items(), key=lambda item: item[1], default=(None, 0))
        return (
            minute, *map(_encodable, key), count.checked, count.failed, count.fixed,
            worst and _encodable(worst), n, count.letter, count.lag_s,
        )  # fmt: skip

    def committed(self) -> None:
        """The transaction was committed."""
        self._taken = {}

    def withdraw(self) -> None:
        """If the transaction was not committed, keep the counts for the next one."""
        taken, self._taken = self._taken, {}
        if not taken:
            return
        for key, count in taken.items():
            self._forget_senders(key, count.senders)
        self.quality.give_back(taken)

    def _forget_senders(self, key: RuleKey, senders: Mapping[str, int]) -> None:
        if (whole := self._senders.get(key)) is not None:
            whole.senders.subtract(senders)


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
