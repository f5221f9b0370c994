"""config/iot-sensors.toml on readings of a plant in a file: kills and restarts change no row and no count."""

import json
import random
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamd.plant import SENSORS, Plant

SHIPPED = (Path(__file__).parents[2] / "config" / "iot-sensors.toml").read_text()
SOURCES = re.findall(r"\[sources\.radio\]\n.*?(?=# First question)", SHIPPED, re.DOTALL)[0]
CHANGES = {
    SOURCES: '[ledger]\ninterval = "200ms"\n\n[sources.log]\ntype = "file"\npath = "in.log"\ncodec = "json"\n'
    'schema = "reading"\n\n',
    'sources = ["radio", "cable"]': 'sources = ["log"]',
    # What a killed daemon has stored, the next one may read and store again.
    'table = "gaps"': 'table = "gaps"\nunique = ["sensor", "gap_from"]',
    'table = "alarms"': 'table = "alarms"\nunique = ["sensor", "window_start"]',
}
MINUTES = "SELECT sensor, window_start, n, mean, lowest, highest, complete FROM minutes ORDER BY 1, 2"
GAPS = "SELECT sensor, gap_from, gap_to, missing FROM gaps ORDER BY 1, 2"
SPIKES = "SELECT sensor, window_start, lowest, highest FROM alarms WHERE expect IS NULL ORDER BY 1, 2"


def config() -> str:
    """The shipped configuration with a file as its source."""
    text = SHIPPED
    for old, new in CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    return text


def last_readings(written: list[bytes]) -> list[bytes]:
    """A later reading of each sensor, which closes its last minutes."""
    numbers = {reading["sensor"]: reading["seq"] for reading in map(json.loads, written)}
    reading = {"ts": "2026-01-31T09:05:00Z", "value": 20, "unit": "C"}
    return [json.dumps(reading | {"sensor": name, "seq": n + 1}).encode() for name, n in numbers.items()]


def results(daemon: Any) -> list[list[Any]]:
    return [daemon.query(sql, "plant.db") for sql in (MINUTES, GAPS, SPIKES)]


def has_ended(daemon: Any) -> bool:
    """Whether the last minute of each sensor is closed, of the skewed clocks too."""
    last = daemon.query("SELECT count(*) FROM (SELECT max(window_start) AS last FROM minutes GROUP BY sensor)"
                        " WHERE last >= '2026-01-31T08:58:00'", "plant.db")  # fmt: skip
    return bool(last) and last[0][0] == SENSORS


def test_kills_and_restarts_change_no_row_of_the_plant(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], pace: Any
) -> None:
    plant = Plant()
    written = plant.lines(10**6)
    sent = len(written)
    written += last_readings(written)
    log = tmp_path / "in.log"
    log.write_bytes(b"".join(b"%b\n" % line for line in written))
    daemon = start(config())
    wait_until(lambda: has_ended(daemon), "the minutes of the end")
    daemon.stop()
    undisturbed = results(daemon)
    check(daemon, plant, sent)

    for path in [*tmp_path.glob("var/*.db*"), *tmp_path.rglob("positions/*")]:
        path.unlink()
    rnd = random.Random(7)  # noqa: S311 - no secret
    log.write_bytes(b"")
    given = 0
    for round_ in range(3):
        daemon = start(config())
        for _ in range(7):
            more = written[given : given + rnd.randrange(50, 200)]
            given += len(more)
            with log.open("ab") as file:
                file.write(b"".join(b"%b\n" % line for line in more))
            pace(0.05)
        if round_ % 2:
            daemon.stop()
        else:
            daemon.process.send_signal(signal.SIGKILL)
            daemon.process.wait()
    assert given < len(written)
    with log.open("ab") as file:
        file.write(b"".join(b"%b\n" % line for line in written[given:]))
    daemon = start(config())
    wait_until(lambda: has_ended(daemon), "the minutes of the end")
    daemon.stop()
    assert results(daemon) == undisturbed


def check(daemon: Any, plant: Plant, sent: int) -> None:
    """The tables, the books and the quality of an undisturbed run are what the plant says about itself."""
    minutes, gaps, spikes = results(daemon)
    faults, truth = plant.faults(sent), plant.books(sent)
    missing = [(sensor, seq) for sensor, first, last, _ in gaps for seq in range(first, last + 1)]
    assert missing == sorted(
        (f.sensor, f.seq + n) for f in faults if f.kind == "gap" for n in range(f.readings)
    )
    assert Counter(sensor for sensor, *_ in spikes) == Counter(f.sensor for f in faults if f.kind == "spike")
    errors, resets = truth["error_value"][1], truth["clock_reset"][1]
    reasons = Counter(reason for _, reason, _ in daemon.dead_letters("log"))
    assert reasons == {"rule:range": errors, "rule:expression": resets}
    books = daemon.books()
    assert books["log", "", "", "received"] == sent + SENSORS
    assert books["log", "minutes", "", "filtered"] == truth["duplicate"][0]
    assert sum(n for _, _, n, *_ in minutes) == sent - truth["duplicate"][0] - errors - resets
    assert all(complete for *_, complete in minutes)
    quality = daemon.query("SELECT rule, sum(checked), sum(failed), sum(fixed) FROM quality GROUP BY 1")
    failed = {rule: (failed, fixed) for rule, checked, failed, fixed in quality if failed or fixed}
    assert failed == {
        "value_type": (truth["text"][1],) * 2,
        "value_range": (errors, 0),
        "clock_is_set": (resets, 0),
        "unit_is_celsius": (truth["fahrenheit"][1], 0),
    }
    silences = daemon.query(
        "SELECT sensor FROM (SELECT sensor, unixepoch(window_start) - lag(unixepoch(window_start))"
        " OVER (PARTITION BY sensor ORDER BY window_start) AS s FROM minutes) WHERE s > 180 ORDER BY 1",
        "plant.db",
    )
    assert [sensor for (sensor,) in silences] == sorted(f.sensor for f in faults if f.kind == "silence")
