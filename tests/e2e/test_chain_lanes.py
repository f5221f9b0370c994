"""A chain of steps into a typed table in a daemon: flat, and as dicts."""

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

CONFIG = """
[schemas.reading]
ts = "timestamp"
sensor = "str"
seq = "int"
value = "float"

[sources.log]
type = "file"
path = "in.log"
codec = "json"
schema = "reading"

[[pipelines.main.steps]]
type = "filter"
where = "value < 90"

[[pipelines.main.steps]]
type = "set"
fields = {{ value = "value * 1.8 + 32" }}

[[pipelines.main.steps]]
type = "validate"
rules = [{{ name = "cold", field = "value", check = "range", ge = 40, on_error = "reject" }}]

[[pipelines.main.steps]]
type = "dedupe"
key = ["sensor", "seq"]
within = "1h"
{steps}
[pipelines.main]
sources = ["log"]
sinks = ["readings"]

[sinks.readings]
type = "sqlite"
path = "streamd.db"
table = "readings"
schema = "reading"
"""
DICTS = """
[[pipelines.main.steps]]
type = "set"
remove = ["nothing"]
"""


def lines(count: int) -> list[dict[str, Any]]:
    """Readings, of which every tenth comes twice."""
    rnd = random.Random(8)  # noqa: S311 - no secret
    made: list[dict[str, Any]] = []
    for n in range(count):
        row = {"ts": 1_700_000_000 + n, "sensor": f"s{n % 7}", "seq": n, "value": rnd.randrange(100)}
        made += [row] * (2 if n % 10 == 0 else 1)
    return made


def test_a_chain_stores_the_same_rows_of_values_and_of_dicts(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    sent = lines(5_000)
    (tmp_path / "in.log").write_text("".join(f"{json.dumps(row)}\n" for row in sent))
    expected = {
        row["seq"]: row["value"] * 1.8 + 32
        for row in sent
        if row["value"] < 90 and row["value"] * 1.8 + 32 >= 40
    }
    warm = [row for row in sent if row["value"] < 90]
    cold = [row for row in warm if row["value"] * 1.8 + 32 < 40]
    found = []
    for steps in ("", DICTS):
        for path in [*tmp_path.rglob("*.db*"), *tmp_path.rglob("positions/*")]:
            path.unlink()
        daemon = start(CONFIG.format(steps=steps))
        wait_until(partial(_has, daemon, len(expected)), "all rows")
        daemon.stop()
        assert dict(daemon.query("SELECT seq, value FROM readings")) == expected
        letters = [
            {k: v for k, v in json.loads(payload).items() if k != "@received_at"}
            for _, reason, payload in daemon.dead_letters("log")
            if reason == "rule:range"
        ]
        assert [letter["seq"] for letter in letters] == [row["seq"] for row in cold]
        books = daemon.books()
        assert books["log", "main", "", "filtered"] == len(sent) - len(cold) - len(expected)
        assert books["log", "main", "", "out"] == len(expected)
        rows = daemon.query("SELECT ts, sensor, seq, value FROM readings ORDER BY seq")
        quality = daemon.query("SELECT rule, sum(checked), sum(failed) FROM quality WHERE pipeline = 'main'")
        found.append((rows, letters, quality))
    assert found[0] == found[1]
    assert found[0][2] == [("cold", len(warm), len(cold))]


def _has(daemon: Any, count: int) -> bool:
    return bool(daemon.query("SELECT count(*) FROM readings")[0][0] == count)
