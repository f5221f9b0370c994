"""Real clients send what docs/how-to/replace-statsd.md shows, and its queries find it."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/how-to/replace-statsd.md").read_text()
SHIPPED = (ROOT / "config/statsd.toml").read_text()
CONFIG = re.sub(r'(listen = "127\.0\.0\.1):8125"', r'\1:0"', SHIPPED).replace(
    'interval = "10s"', 'interval = "1s"'
)
SENT = 400
"""Metrics that are sent over TCP."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def queries() -> list[tuple[str, list[str]]]:
    """Each query of the page with the rows that it gives, as sqlite3 prints them."""
    found = re.findall(r"(SELECT .*;)\n((?:-- .*\n)+)", blocks("sql")[0])
    return [(sql, re.findall("-- (.*)\n", rows)) for sql, rows in found]


def test_the_page_has_the_shipped_configuration() -> None:
    assert tomllib.loads(blocks("toml")[0]) == tomllib.loads(SHIPPED)


def test_what_clients_send_is_what_the_queries_of_the_page_find(
    start: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    statsd = pytest.importorskip("statsd", reason="the package statsd is not installed")
    pytest.importorskip("datadog", reason="the package datadog is not installed")
    daemon = start(CONFIG)
    for code in blocks("python"):
        made: dict[str, Any] = {}
        exec(code.replace("8125", str(daemon.address("statsd")[1])), made)  # noqa: S102 - the page's own
        for end in ("stop", "close_socket", "close"):
            getattr(made["client"], end, lambda: None)()
    client = statsd.TCPStatsClient(*daemon.address("statsd_tcp"), timeout=30)
    for n in range(SENT):
        client.timing("over.tcp", n)
    client.incr("over.tcp", SENT)
    client.decr("over.tcp", 1)
    client.close()

    def stored(table: str, condition: str, column: str = "count(*)") -> float:
        rows = daemon.query(f"SELECT {column} FROM {table} WHERE {condition}", "metrics.db")  # noqa: S608
        return rows[0][0] or 0 if rows else 0

    wait_until(lambda: stored("metrics", "name = 'over.tcp'", "sum(count)") == SENT + 2)
    wait_until(lambda: stored("metrics", "name != 'over.tcp' AND type != 'gauge'", "sum(count)") == 10)
    wait_until(lambda: stored("metrics", "type = 'gauge' AND value = 42"))
    wait_until(lambda: stored("events", "true") == 2)
    daemon.stop()
    ((total, least, greatest),) = daemon.query(
        "SELECT sum(sum), min(min), max(max) FROM metrics WHERE name = 'over.tcp' AND type = 'timer'",
        "metrics.db",
    )
    assert (total, least, greatest) == (SENT * (SENT - 1) / 2, 0, SENT - 1)
    assert stored("metrics", "name = 'over.tcp' AND type = 'counter'", "sum(value)") == SENT - 1
    assert len(queries()) == 5
    for sql, rows in queries():
        found = daemon.query(sql.replace("WHERE", "WHERE name != 'over.tcp' AND"), "metrics.db")
        assert ["|".join("" if cell is None else str(cell) for cell in row) for row in found] == rows, sql
    assert daemon.reasons("rejected") == {}
