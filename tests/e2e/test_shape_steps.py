"""A merge that is killed, and a table that changes under a running daemon."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

MERGE = """
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
steps = [{ type = "merge", key = ["id"], fields = ["lat"], max_age = "20s", time = "ts" }]
sinks = ["rows"]
[sinks.rows]
type = "sqlite"
path = "streamd.db"
table = "rows"
columns = { seq = "int", id = "str", lat = { type = "int", required = false } }
unique = ["seq"]
batch = { max_wait = "20ms" }
"""


def write(path: Path, first: int, count: int) -> None:
    """Every eleventh record of a key has a position, except for a long time in the middle."""
    with path.open("a") as file:
        for seq in range(first, first + count):
            record: dict[str, Any] = {"seq": seq, "id": f"k{seq % 3}", "ts": seq}
            if seq % 11 == 0 and not 500 < seq < 600:
                record["lat"] = seq
            file.write(json.dumps(record) + "\n")


def expected(count: int) -> list[tuple[int, str, int | None]]:
    last: dict[str, int] = {}
    found: list[tuple[int, str, int | None]] = []
    for seq in range(count):
        key = f"k{seq % 3}"
        if seq % 11 == 0 and not 500 < seq < 600:
            last[key] = seq
        lat = last.get(key)
        found.append((seq, key, lat if lat is not None and seq - lat <= 20 else None))
    return found


def test_a_reload_and_a_kill_do_not_change_what_is_merged(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    log = tmp_path / "in.log"
    write(log, 0, 400)
    daemon = start(MERGE)
    daemon.wait_rows(400, "rows")
    daemon.config.write_text(MERGE.replace("20ms", "30ms"))
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.events("reloaded"), "the reload")
    write(log, 400, 405)
    daemon.wait_rows(805, "rows")
    wait_until(lambda: daemon.query("SELECT 1 FROM state", "state.db"), "a stored state")
    daemon.process.kill()
    daemon.process.wait()
    write(log, 805, 300)
    daemon = start(MERGE)
    daemon.wait_rows(1105, "rows")
    daemon.stop()
    assert daemon.query("SELECT seq, id, lat FROM rows ORDER BY seq") == expected(1105)
    assert [event["step"] for event in daemon.events("state_restored")] == ["main > merge[0]"]


STEP = (
    'type = "lookup", path = "sites.csv", key = ["id"], fields = ["site"], on_missing = "reject",'
    ' check_every = "10ms"'
)
LOOKUP = f"""
[admin]
listen = "none"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["lab"]
steps = [{{ {STEP} }}]
sinks = ["rows"]
[sinks.rows]
type = "sqlite"
path = "streamd.db"
table = "rows"
columns = {{ id = "str", site = "str" }}
"""


def test_a_table_is_read_again_while_the_daemon_runs(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    sites, new = tmp_path / "sites.csv", tmp_path / "sites.new"
    sites.write_text("id,site\na,roof\n")
    daemon = start(LOOKUP)

    def stored() -> set[str]:
        daemon.udp(b'{"id": "a"}')
        return {site for (site,) in daemon.query("SELECT DISTINCT site FROM rows")}

    wait_until(lambda: stored() == {"roof"}, "the first table")
    new.write_text("id,site\na,half,\n")  # it cannot be used
    new.replace(sites)
    for _ in range(50):
        assert stored() == {"roof"}
    new.write_text("id,site\na,yard\n")
    new.replace(sites)
    wait_until(lambda: stored() == {"roof", "yard"}, "the second table")
    daemon.udp(b'{"id": "nobody"}')

    wrong = LOOKUP.replace('fields = ["site"]', 'fields = { site = "place" }')
    daemon.config.write_text(wrong)
    daemon.process.send_signal(signal.SIGHUP)
    (event,) = wait_until(lambda: daemon.events("reload_failed"), "the refusal")
    assert "there is no column 'place'" in event["why"]
    daemon.config.write_text(LOOKUP.replace('"10ms"', '"20ms"'))
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.events("reloaded"), "the reload")
    before = daemon.query("SELECT count(*) FROM rows")[0][0]
    daemon.udp(b'{"id": "a"}')
    daemon.wait_rows(before + 1, "rows")
    daemon.stop()
    assert daemon.books()["lab", "main", "", "rejected"] == 1
