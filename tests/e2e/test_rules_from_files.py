"""The table and the model of rules: both change under a running daemon."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIG = """
[admin]
listen = "none"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["lab"]
steps = [{ type = "validate", rules = [
    { field = "id", check = "reference", path = "known.csv", check_every = "10ms", on_error = "reject" },
    { name = "shape", check = "model", model = "models.py:Reading", on_error = "fix" },
] }]
sinks = ["rows"]
[sinks.rows]
type = "sqlite"
path = "streamd.db"
table = "rows"
columns = { id = "str", v = "float", quality = { type = "json", required = false } }
"""
MODEL = """
from pydantic import BaseModel, field_validator
class Reading(BaseModel):
    v: float
    @field_validator("v")
    @classmethod
    def check(cls, v):
        return 1 / (v - 7) and v
"""


def test_a_table_is_read_again_and_a_reload_takes_a_changed_model(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    known, new, models = tmp_path / "known.csv", tmp_path / "known.new", tmp_path / "models.py"
    known.write_text("id\na\n")
    models.write_text(MODEL)
    daemon = start(CONFIG)

    def stored(name: str) -> Any:
        daemon.udp(f'{{"id": "{name}", "v": "2.5"}}'.encode())
        return daemon.query(f"SELECT DISTINCT v, quality ->> 'shape' FROM rows WHERE id = '{name}'")  # noqa: S608

    wait_until(lambda: stored("a") == [(2.5, "v converted from '2.5'")], "the first table")
    assert stored("b") == []
    new.write_text("name\nb\n")  # it cannot be used
    new.replace(known)
    for _ in range(30):
        assert stored("b") == []
    new.write_text("id\nb\n")
    new.replace(known)
    wait_until(lambda: stored("b"), "the second table")

    for _ in range(3):
        daemon.udp(b'{"id": "b", "v": 7}')
    (event,) = wait_until(lambda: daemon.events("step_failed"), "the log of the first failure")
    assert "shape: ZeroDivisionError: float division by zero (models.py:8)" in event["error"]

    models.write_text("x = 1\n1 / 0\n")
    daemon.process.send_signal(signal.SIGHUP)
    (event,) = wait_until(lambda: daemon.events("reload_failed"), "the refusal")
    assert "models.py:2: ZeroDivisionError" in event["why"]
    models.write_text(MODEL.replace("7", "8"))
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.events("reloaded"), "the reload")
    daemon.udp(b'{"id": "b", "v": 7}')
    wait_until(lambda: daemon.query("SELECT 1 FROM rows WHERE v = 7"), "the record of the new model")
    daemon.stop()
    daemon.assert_balanced()
    letters = daemon.query(
        "SELECT reason, count(*) > 0 FROM dead_letters GROUP BY 1 ORDER BY 1", "dead-letters.db"
    )
    assert letters == [("rule:model", 1), ("rule:reference", 1)]
