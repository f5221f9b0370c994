"""Steps with time and state, of another package, in a daemon that is killed."""

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

THIRD_PARTY = Path(__file__).parents[1] / "third_party"
KEYS = "abc"
CONFIG = """
[ledger]
interval = "200ms"

[sources.log]
type = "file"
path = "in.log"
codec = "json"

[pipelines.numbered]
sources = ["log"]
steps = [{ type = "count", by = "key" }]
sinks = ["numbered"]

[pipelines.totals]
sources = ["log"]
steps = [{ type = "totals", by = "key", sum_of = "seq", every = "100ms" }]
sinks = ["totals"]

[pipelines.delayed]
sources = ["log"]
steps = [{ type = "delay", by = "150ms" }]
sinks = ["delayed"]

[sinks.numbered]
type = "sqlite"
path = "streamd.db"
table = "numbered"
columns = { seq = "int", key = "str", n = "int" }
unique = ["seq"]

[sinks.totals]
type = "sqlite"
path = "streamd.db"
table = "totals"
columns = { key = "str", n = "int", total = "int" }
unique = ["key"]

[sinks.delayed]
type = "sqlite"
path = "streamd.db"
table = "delayed"
columns = { seq = "int", key = "str" }
unique = ["seq"]
"""


def third_party(**env: str) -> dict[str, str]:
    paths = [str(THIRD_PARTY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), **env}


class Writer:
    """Writes readings to the followed file, and knows what has to come of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.numbered: list[tuple[int, str, int]] = []
        self.totals: dict[str, list[int]] = {}

    def write(self, count: int) -> None:
        with self.path.open("a") as file:
            for _ in range(count):
                key = KEYS[self.count * self.count % 7 % len(KEYS)]
                total = self.totals.setdefault(key, [0, 0])
                total[0] += 1
                total[1] += self.count
                self.numbered.append((self.count, key, total[0]))
                file.write(json.dumps({"seq": self.count, "key": key}) + "\n")
                self.count += 1


def kill(daemon: Any) -> None:
    daemon.process.kill()
    daemon.process.wait()


def totals(daemon: Any) -> dict[str, list[int]]:
    return {key: [n, total] for key, n, total in daemon.query("SELECT key, n, total FROM totals")}


def assert_undisturbed(daemon: Any, writer: Writer) -> None:
    assert daemon.query("SELECT seq, key, n FROM numbered ORDER BY seq") == writer.numbered
    assert daemon.query("SELECT seq FROM delayed ORDER BY seq") == [(n,) for n in range(writer.count)]
    assert totals(daemon) == writer.totals


def states(daemon: Any) -> list[tuple[Any, ...]]:
    return list(daemon.query("SELECT pipeline, step, set_aside_at IS NULL, inputs FROM state", "state.db"))


def seen(daemon: Any) -> int:
    """Up to which frame the stored states have seen the input."""
    return max(
        (number for *_, inputs in states(daemon) for _, number in json.loads(inputs).values()), default=0
    )


def position(daemon: Any) -> int:
    """The number of the last frame before the remembered position."""
    try:
        text = (daemon.folder / "var" / "positions" / "log.json").read_text()
    except FileNotFoundError:
        return 0
    return int(json.loads(text)["frames"])


def test_killed_at_any_moment_the_result_is_as_if_nothing_had_happened(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    writer = Writer(tmp_path / "in.log")
    rng = random.Random(5)  # noqa: S311 - no secret
    again = 0
    for _ in range(6):
        writer.write(700)
        daemon = start(CONFIG, **third_party())
        for _ in range(rng.randrange(1, 12)):
            writer.write(rng.randrange(300))
            time.sleep(0.05)
            assert position(daemon) <= seen(daemon), "the position is ahead of the state"
        kill(daemon)
        again += position(daemon) < seen(daemon)
    daemon = start(CONFIG, **third_party())
    writer.write(10)
    wait_until(lambda: position(daemon) == writer.count, "the position at the end of the file")
    wait_until(lambda: totals(daemon) == writer.totals, "the totals")
    daemon.stop()
    assert_undisturbed(daemon, writer)
    assert not any("set_aside" in line for line in daemon.stderr.splitlines())
    assert position(daemon) == seen(daemon) == writer.count


def test_a_stop_stores_the_state_and_a_start_goes_on_with_it(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    writer = Writer(tmp_path / "in.log")
    for _ in range(3):
        writer.write(500)
        daemon = start(CONFIG, **third_party())
        daemon.wait_rows(writer.count, "numbered")
        daemon.stop()
        assert position(daemon) == seen(daemon) == writer.count
    daemon = start(CONFIG, **third_party())
    wait_until(lambda: totals(daemon) == writer.totals, "what the last stop has kept")
    daemon.stop()
    assert_undisturbed(daemon, writer)
    assert daemon.books()["log", "", "", "received"] == 0
    assert daemon.books()["@tick", "totals", "", "emitted"] > 0
    assert {event["step"] for event in daemon.events("state_restored")} == {
        "numbered > count[0]",
        "totals > totals[0]",
    }
