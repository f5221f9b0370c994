"""Windows in a daemon: kill -9 and restarts change no window, and quiet senders are not late in a flood."""

import json
import random
import signal
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamd.core.contracts import StepContext
from streamd.core.now import Now
from streamd.steps.window import Window

CONFIG = """
[ledger]
interval = "200ms"

[sources.log]
type = "file"
path = "in.log"
codec = "json"

[[pipelines.main.steps]]
type = "window"
kind = "sliding"
size = "60s"
slide = "20s"
key = ["sensor"]
time = "ts"
watermark_delay = "40s"
max_future = "3660d"
idle_timeout = "2s"
max_keys = 9
late = "drop"

[pipelines.main.steps.aggregate]
n = "count()"
mean = "mean(value)"
deviation = "stddev(value)"
last = "last(value)"
increase = "delta(value)"

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
window_end = "timestamp"
n = "int"
mean = "float"
deviation = "float"
last = "float"
increase = "float"
final = "bool"
complete = "bool"
"""
ALL = "SELECT sensor, window_start, window_end, n, mean, deviation, last, increase, final, complete"
ROWS = f"{ALL} FROM minutes ORDER BY sensor, window_start"


def lines(count: int) -> list[str]:
    """Readings of twelve sensors, one with a clock that is an hour fast; some are late or too late."""
    rnd = random.Random(3)  # noqa: S311 - no secret
    made = []
    for n in range(count):
        sensor = rnd.randrange(12)
        at = (
            1_000_000
            + n * 0.2
            + rnd.uniform(-30, 30)
            - (200 if rnd.random() < 0.01 else 0)
            + (sensor == 3) * 3600
        )
        value = None if rnd.random() < 0.02 else rnd.uniform(0, 100)
        made.append(json.dumps({"sensor": f"s{sensor}", "ts": at, "value": value}))
    return made


def ends(daemon: Any) -> int:
    """How many keys have had their last window."""
    return int(
        daemon.query("SELECT count(DISTINCT sensor) FROM minutes WHERE window_end >= '1970-01-12T14:17:00'")[
            0
        ][0]
    )


def test_windows_of_a_file_are_the_same_row_for_row_after_kills_and_restarts(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], pace: Any
) -> None:
    written = lines(9_000)
    log = tmp_path / "in.log"
    log.write_text("".join(f"{line}\n" for line in written))
    daemon = start(CONFIG)
    wait_until(lambda: ends(daemon) == 10, "the windows of the end")
    daemon.stop()
    undisturbed = daemon.query(ROWS)
    books = daemon.books()
    assert books["log", "main", "", "filtered"] > 0
    assert (
        books["log", "main", "", "in"]
        == books["log", "main", "", "filtered"] + books["log", "main", "", "absorbed"]
    )
    assert len(undisturbed) > 800
    assert all(final and complete for *_, final, complete in undisturbed)

    for path in [*tmp_path.rglob("*.db*"), *tmp_path.rglob("positions/*")]:
        path.unlink()
    rnd = random.Random(7)  # noqa: S311 - no secret
    log.write_text("")
    given = 0
    for round_ in range(5):
        daemon = start(CONFIG)
        for _ in range(6):
            more = written[given : given + rnd.randrange(100, 400)]
            given += len(more)
            with log.open("a") as file:
                file.write("".join(f"{line}\n" for line in more))
            pace(0.05)
        if round_ % 2:
            daemon.stop()
        else:
            daemon.process.send_signal(signal.SIGKILL)
            daemon.process.wait()
    with log.open("a") as file:
        file.write("".join(f"{line}\n" for line in written[given:]))
    daemon = start(CONFIG)
    wait_until(lambda: ends(daemon) == 10, "the windows of the end")
    daemon.stop()
    assert daemon.query(ROWS) == undisturbed


def undisturbed_rows(written: list[str]) -> list[tuple[Any, ...]]:
    """The rows of one step that is never interrupted."""
    options = tomllib.loads(CONFIG)["pipelines"]["main"]["steps"][0]
    step = Window(
        Window.Config(**{k: v for k, v in options.items() if k != "type"}),
        StepContext("window[0]", "main", None, Path()),
    )
    step.open()
    made = step.process([json.loads(line) for line in written], Now(2e9, 0.0)).records
    made += step.tick(Now(2e9, 10.0)).records
    names = ALL.removeprefix("SELECT ").split(", ")
    return sorted(tuple(row[name] for name in names) for row in made)


def taken(daemon: Any) -> int:
    ((count,),) = daemon.query("SELECT sum(n) FROM ledger WHERE counter = 'in' AND pipeline = 'main'")
    return count or 0


def reload(daemon: Any, config: str, wait_until: Callable[..., Any]) -> None:
    before = len(daemon.events("reloaded"))
    daemon.config.write_text(config)
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(daemon.events("reloaded")) > before, "the reload")


def test_a_reload_keeps_open_windows_and_names_those_whose_options_have_changed(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    written = lines(2_000)
    log = tmp_path / "in.log"
    log.write_text("".join(f"{line}\n" for line in written[:1000]))
    config = CONFIG.replace('idle_timeout = "2s"', 'idle_timeout = "3s"')
    daemon = start(config)
    wait_until(lambda: taken(daemon) == 1000, "the first half")
    more = '\n[sinks.more]\ntype = "file"\npath = "more.ndjson"\n'
    reload(daemon, config.replace('sinks = ["minutes"]', 'sinks = ["minutes", "more"]') + more, wait_until)
    with log.open("a") as file:
        file.write("".join(f"{line}\n" for line in written[1000:]))
    expected = undisturbed_rows(written)
    count = "SELECT count(*) FROM minutes"
    wait_until(lambda: daemon.query(count) == [(len(expected),)], "the windows of the end")
    assert not daemon.events("state_set_aside")
    assert [(*row[:8], bool(row[8]), bool(row[9])) for row in daemon.query(ROWS)] == expected

    later = [json.dumps({"sensor": "s20", "ts": 2_000_000, "value": 1.0})]
    with log.open("a") as file:
        file.write("".join(f"{line}\n" for line in later))
    wait_until(lambda: taken(daemon) == 2001, "a new window")
    reload(daemon, config.replace('slide = "20s"', 'slide = "30s"'), wait_until)
    wait_until(lambda: daemon.events("state_set_aside"), "the state set aside")
    (set_aside,) = daemon.events("state_set_aside")
    assert set_aside["step"] == "main > window[0]"
    assert "setting" in set_aside["why"]
    states = daemon.query("SELECT count(*) FROM state WHERE set_aside_at IS NOT NULL", "state.db")
    assert states == [(1,)]
    daemon.stop()
    daemon.assert_balanced()


def test_windows_that_no_interval_has_stored_yet_are_set_aside_by_a_reload_that_changes_them(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    (tmp_path / "in.log").write_text("".join(f"{line}\n" for line in lines(100)))
    config = CONFIG.replace('interval = "200ms"', 'interval = "1h"').replace(
        'time = "ts"', 'time = "ts"\nearly = "100ms"'
    )
    daemon = start(config)
    wait_until(lambda: daemon.query("SELECT count(*) FROM minutes")[0][0] > 0, "early results")
    reload(daemon, config.replace('slide = "20s"', 'slide = "30s"'), wait_until)
    wait_until(lambda: daemon.events("state_set_aside"), "the state set aside")
    (size,) = daemon.query("SELECT length(state) FROM state WHERE set_aside_at IS NOT NULL", "state.db")
    assert size[0] > 100
    daemon.stop()
    daemon.assert_balanced()
