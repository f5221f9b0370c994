"""Windows of typed records in a daemon: flat, as dicts, and beside a pipeline that needs dicts."""

import json
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

CONFIG = """
[schemas.reading]
ts = "timestamp"
sensor = "str"
value = {{ type = "float", required = false, le = 95 }}

[sources.log]
type = "file"
path = "in.log"
codec = "json"
schema = "reading"
{steps}
[[pipelines.main.steps]]
type = "window"
size = "60s"
key = ["sensor"]
time = "ts"
watermark_delay = "5s"
idle_timeout = "1s"

[pipelines.main.steps.aggregate]
n = "count()"
mean = "mean(value)"
low = "min(value)"
high = "max(value)"

[[pipelines.main.steps]]
type = "set"
fields = {{ spread = "high - low" }}

[pipelines.main]
sources = ["log"]
sinks = ["minutes"]

[sinks.minutes]
type = "sqlite"
path = "streamd.db"
table = "minutes"
unique = ["sensor", "window_start"]

[sinks.minutes.columns]
sensor = "str"
window_start = "timestamp"
n = "int"
mean = "float"
spread = "float"
final = "bool"
complete = "bool"
{more}
"""
FILTER = """
[[pipelines.main.steps]]
type = "filter"
where = "sensor != 'nobody'"
"""
DICTS = """
[[pipelines.main.steps]]
type = "set"
remove = ["nothing"]
"""
BESIDE = """
[pipelines.raw]
sources = ["log"]
sinks = ["lines"]

[sinks.lines]
type = "file"
path = "lines.jsonl"
"""


def lines(count: int) -> list[str]:
    """Readings of five sensors: some late, some from the future, some that the schema rejects."""
    rnd = random.Random(5)  # noqa: S311 - no secret
    made = []
    for n in range(count):
        at = 1_700_000_000 + n * 0.5 + rnd.uniform(-4, 4) - (300 if rnd.random() < 0.02 else 0)
        row = {"ts": 9e9 if rnd.random() < 0.01 else at, "sensor": f"s{rnd.randrange(5)}"}
        if rnd.random() > 0.05:
            row["value"] = rnd.uniform(0, 100)
        made.append(json.dumps(row) if rnd.random() > 0.02 else '{"ts": ')
    return made


def has_ended(daemon: Any) -> bool:
    """Whether the last window of each sensor is in the table."""
    last = "SELECT count(*) FROM minutes WHERE window_start >= '2023-11-14T23:03:00'"
    return bool(daemon.query(last)[0][0] == 5)


def test_windows_of_flat_records_are_those_of_dicts(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    (tmp_path / "in.log").write_text("".join(f"{line}\n" for line in lines(6_000)))
    found = []
    for steps, more in (("", ""), (FILTER, ""), (DICTS, ""), ("", BESIDE)):
        for path in [*tmp_path.rglob("*.db*"), *tmp_path.rglob("positions/*")]:
            path.unlink()
        daemon = start(CONFIG.format(steps=steps, more=more))
        wait_until(partial(has_ended, daemon), "the windows of the end")
        daemon.stop()
        books = Counter({key: count for key, count in daemon.books().items() if key[1] in ("", "main")})
        letters = []
        for stage, reason, payload in daemon.dead_letters("log"):
            record = payload
            if stage.startswith("window"):
                record = json.loads(payload)
                assert record.pop("@received_at").startswith("20")
            letters.append((stage.partition("[")[0], reason, record))
        found.append((daemon.query("SELECT * FROM minutes ORDER BY sensor, window_start"), letters, books))
    flat, filtered, dicts, beside = found
    assert len(flat[0]) > 200
    assert {reason for _, reason, _ in flat[1]} >= {"window:late", "window:future", "schema:range"}
    assert flat[0] == filtered[0] == dicts[0] == beside[0]
    assert flat[1] == filtered[1] == dicts[1] == beside[1]
    assert flat[2] == beside[2]
