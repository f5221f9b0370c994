"""The minutes around unusual values, in a daemon that is killed and reloaded."""

import json
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamd import registry
from streamd.core.contracts import StepContext
from streamd.core.now import Now
from tests.e2e.kills import append, kill_thrice

STEPS: list[dict[str, Any]] = [
    {"type": "anomaly", "field": "v", "key": ["k"], "min_width": 3.0},
    {
        "type": "capture", "when": "anomaly", "key": ["k"], "time": "at", "before": "30s", "after": "10s",
        "longest": "60s", "max_records": 20,
    },
]  # fmt: skip
NAMES = ("capture", "capture_row", "seq", "k", "capture_complete")
COLUMNS = {"capture": "str", "capture_row": "int", "capture_offset_s": "float", "capture_complete": "bool"}
CONFIG = """
[ledger]
interval = "100ms"
[admin]
listen = "none"
[sources.log]
type = "file"
path = "in.log"
codec = "json"
[pipelines.main]
sources = ["log"]
steps = [{ type = "anomaly", field = "v", key = ["k"], min_width = 3.0 }, STEP]
sinks = [
  { name = "readings", where = "capture is None" },
  { name = "captured", where = "capture is not None" },
]
[sinks.readings]
type = "sqlite"
path = "streamd.db"
table = "readings"
columns = { seq = "int" }
unique = ["seq"]
batch = { max_wait = "20ms" }
[sinks.captured]
type = "sqlite"
path = "streamd.db"
table = "captured"
columns = { seq = "int", k = "str", COLUMNS }
unique = ["capture", "capture_row"]
"""
LINES = 1200


def toml(table: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in table.items())


TEXT = CONFIG.replace("STEP", f"{{ {toml(STEPS[1])} }}").replace("COLUMNS", toml(COLUMNS))


def stream() -> list[dict[str, Any]]:
    """A reading of each of three sensors a second, later every two seconds, with peaks."""
    rng = random.Random(5)  # noqa: S311 - no secret
    return [
        {
            "seq": seq,
            "k": "abc"[seq % 3],
            "at": 1_700_000_000 + seq // 3 + max(0, seq // 3 - 200),
            "v": 20 + rng.random() + (50 if rng.random() < 0.01 else 0),
        }
        for seq in range(LINES)
    ]


def undisturbed() -> list[tuple[Any, ...]]:
    """The rows of the captured records if all are processed at once."""
    records = stream()
    for options in STEPS:
        cls = registry.load("steps", options["type"])
        config = cls.Config(**{name: value for name, value in options.items() if name != "type"})
        step: Any = cls(config, StepContext(options["type"], "main", None, Path()))
        records = step.process(records, Now(1.8e9, 1.0)).records
    rows = [record for record in records if "capture" in record]
    assert len(rows) + LINES == len(records)
    return sorted(tuple(row[name] for name in NAMES) for row in rows)


def captured(daemon: Any) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = daemon.query(
        f"SELECT {', '.join(NAMES)} FROM captured ORDER BY capture, capture_row"  # noqa: S608
    )
    return rows


def test_kills_and_a_reload_change_no_captured_record(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], pace: Any
) -> None:
    records, path = stream(), tmp_path / "in.log"
    written = kill_thrice(start, pace, TEXT, path, records, len(STEPS))
    daemon = start(TEXT)
    daemon.wait_rows(written, "readings")
    daemon.config.write_text(TEXT.replace("20ms", "30ms"))
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.events("reloaded"), "the reload")
    append(path, records[written:])
    daemon.wait_rows(LINES, "readings")
    expected = undisturbed()
    wait_until(lambda: len(captured(daemon)) == len(expected), "the last captured record")
    daemon.stop()
    assert captured(daemon) == expected
    assert len({row[0] for row in expected}) > 3
    assert {row[-1] for row in expected} == {False, True}
    assert [event["step"] for event in daemon.events("state_restored")] == [
        "main > anomaly[0]",
        "main > capture[1]",
    ]
    assert not daemon.events("state_set_aside")
