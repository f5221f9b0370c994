"""Steps with time and state, of another package, in a daemon that is killed.

Also about `state/keeper.py` and `state/snapshot.py`.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

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
        (number for *_, inputs in states(daemon) for _, number, *_ in json.loads(inputs).values()),
        default=0,
    )


def position(daemon: Any) -> int:
    """The number of the last frame before the remembered position."""
    try:
        text = (daemon.folder / "var" / "positions" / "log.json").read_text()
    except FileNotFoundError:
        return 0
    return int(json.loads(text)["frames"])


@pytest.mark.parametrize(
    ("interval", "max_wait"),
    [("200ms", "50ms"), ("1500ms", "50ms"), ("100ms", "600ms")],
    ids=["as usual", "states less often than positions", "commits less often than states"],
)
def test_killed_at_any_moment_the_result_is_as_if_nothing_had_happened(
    start: Callable[..., Any],
    tmp_path: Path,
    wait_until: Callable[..., Any],
    interval: str,
    max_wait: str,
    pace: Any,
) -> None:
    config = CONFIG.replace("200ms", interval)
    config = config.replace("unique =", f'batch = {{ max_wait = "{max_wait}" }}\nunique =')
    writer = Writer(tmp_path / "in.log")
    rng = random.Random(5)  # noqa: S311 - no secret
    again = 0
    for _ in range(4):
        writer.write(700)
        daemon = start(config, **third_party())
        for _ in range(rng.randrange(4, 30)):
            writer.write(rng.randrange(300))
            pace(0.05)
            assert position(daemon) <= seen(daemon), "the position is ahead of the state"
        kill(daemon)
        again += position(daemon) < seen(daemon)
    daemon = start(config, **third_party())
    writer.write(10)
    wait_until(lambda: position(daemon) == writer.count, "the position at the end of the file")
    wait_until(lambda: totals(daemon) == writer.totals, "the totals")
    daemon.stop()
    assert_undisturbed(daemon, writer)
    assert not any("set_aside" in line for line in daemon.stderr.splitlines())
    assert position(daemon) == seen(daemon) == writer.count


@pytest.mark.parametrize("executor", ["inline", "thread"])
def test_values_by_key_of_a_class_are_as_if_nobody_had_killed_the_daemon_and_no_record_had_failed(
    start: Callable[..., Any],
    tmp_path: Path,
    wait_until: Callable[..., Any],
    pace: Any,
    executor: str,
) -> None:
    (tmp_path / "steps.py").write_text(KEYED)
    step = f'{{ type = "python", function = "steps.py:Counter", executor = "{executor}" }}'
    config = SMALL.replace('{ type = "count", by = "key" }', step)
    writer = Writer(tmp_path / "in.log")
    rng = random.Random(7)  # noqa: S311 - no secret
    failing = 0
    for _ in range(3):
        daemon = start(config)
        for _ in range(rng.randrange(4, 15)):
            writer.write(rng.randrange(300))
            with writer.path.open("a") as file:
                file.write('{"seq": -1, "key": "a"}\n')
            failing += 1
            pace(0.05)
        kill(daemon)
    daemon = start(config)
    writer.write(10)
    wait_until(lambda: position(daemon) == writer.count + failing, "the position at the end of the file")
    daemon.stop()
    assert daemon.query("SELECT seq, key, n FROM numbered ORDER BY seq") == writer.numbered
    assert {letter[1] for letter in daemon.dead_letters("log")} == {"exception"}
    assert set_aside(daemon) == []


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


SMALL = (
    CONFIG.split("[pipelines.totals]", maxsplit=1)[0]
    + "\n[sinks.numbered]"
    + CONFIG.split("[sinks.numbered]")[1].split("[sinks.totals]", maxsplit=1)[0]
)


def run_once(start: Callable[..., Any], writer: Writer, config: str = SMALL, count: int = 50) -> Any:
    """Write, wait until all is stored, and stop."""
    writer.write(count)
    daemon = start(config, **third_party())
    daemon.wait_rows(writer.count, "numbered")
    daemon.stop()
    return daemon


def set_aside(daemon: Any) -> list[str]:
    return [event["why"] for event in daemon.events("state_set_aside")]


def in_file(daemon: Any) -> list[tuple[str, str | None]]:
    return list(daemon.query("SELECT step, why FROM state ORDER BY set_aside_at IS NULL, id", "state.db"))


@pytest.mark.parametrize(
    ("was", "now", "why"),
    [
        ('by = "key"', 'by = "key", start = 5', "the settings or the code of the step have changed"),
        ("pipelines.numbered", "pipelines.other", "pipeline numbered has no step with state"),
        (
            '"count", by',
            '"totals", sum_of = "seq", by',
            "pipeline numbered has no step of type count that keeps",
        ),
        ('steps = [{ type = "count", by = "key" }]', "", "pipeline numbered has no step with state"),
    ],
)
def test_a_state_of_another_step_is_set_aside_and_named(
    start: Callable[..., Any], tmp_path: Path, was: str, now: str, why: str
) -> None:
    writer = Writer(tmp_path / "in.log")
    run_once(start, writer)
    daemon = start(SMALL.replace(was, now), **third_party())
    assert [text.startswith(why) for text in set_aside(daemon)] == [True]
    kill(daemon)
    assert in_file(daemon)[0] == ("count[0]", set_aside(daemon)[0])
    daemon = start(SMALL.replace(was, now), **third_party())
    assert set_aside(daemon) == []
    kill(daemon)


def test_a_step_keeps_its_state_when_another_is_put_before_it(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    writer = Writer(tmp_path / "in.log")
    run_once(start, writer)
    moved = SMALL.replace("steps = [", 'steps = [{ type = "filter", where = "seq >= 0" }, ')
    daemon = run_once(start, writer, moved)
    assert [event["step"] for event in daemon.events("state_restored")] == ["numbered > count[1]"]
    assert daemon.query("SELECT seq, key, n FROM numbered ORDER BY seq") == writer.numbered
    assert in_file(daemon) == [("count[1]", None)]


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("UPDATE state SET state = x'00'", "the step cannot restore it: "),
        ("UPDATE state SET format = 99", "another version of streamd stored it (format 99)"),
        (
            "UPDATE state SET version = 99",
            "the step has changed the version of its state (stored version 99)",
        ),
        ("UPDATE state SET inputs = 'x'", "it does not name the frames it contains"),
        (
            "UPDATE state SET inputs = json_set(inputs, '$.log[1]', 3)",
            "the remembered position of source log is ahead of it",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_set_aside_and_the_step_begins_without(
    start: Callable[..., Any], tmp_path: Path, sql: str, why: str
) -> None:
    writer = Writer(tmp_path / "in.log")
    run_once(start, writer)
    with sqlite3.connect(tmp_path / "var" / "state.db") as connection:
        connection.execute(sql)
    connection.close()
    daemon = run_once(start, writer)
    assert [text.startswith(why) for text in set_aside(daemon)] == [True]
    first = daemon.query("SELECT key, min(n) FROM numbered WHERE seq >= 50 GROUP BY 1 ORDER BY 1")
    assert first == [(key, 1) for key in KEYS]
    assert len(in_file(daemon)) == 2


def test_without_its_position_the_input_is_read_from_the_beginning_and_the_state_is_set_aside(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    writer = Writer(tmp_path / "in.log")
    run_once(start, writer)
    (tmp_path / "var" / "positions" / "log.json").unlink()
    daemon = run_once(start, writer)
    assert [text.startswith("source log cannot continue from it") for text in set_aside(daemon)] == [True]
    assert daemon.query("SELECT seq, key, n FROM numbered ORDER BY seq") == writer.numbered


def test_a_state_that_is_too_large_is_named_and_nothing_passes_it(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], stays: Any
) -> None:
    writer = Writer(tmp_path / "in.log")
    with writer.path.open("w") as file:
        file.writelines(json.dumps({"seq": n, "key": f"{n:0100}"}) + "\n" for n in range(50))
    small = '[daemon]\nmax_state = "1KiB"\n' + SMALL
    daemon = start(small, **third_party())
    daemon.wait_rows(50, "numbered")
    wait_until(lambda: daemon.events("state_too_large"), "the event")
    stays(lambda: len(daemon.events("state_too_large")) == 1, 0.5)
    daemon.stop()
    assert len(daemon.events("state_too_large")) == 1
    assert (daemon.events("state_too_large")[0]["step"], len(daemon.events("state_not_stored"))) == (
        "numbered > count[0]",
        1,
    )
    assert (states(daemon), position(daemon)) == ([], 0)
    daemon = start(SMALL, **third_party())
    wait_until(lambda: position(daemon) == 50, "a state that fits, and the position behind it")
    daemon.stop()
    assert daemon.query("SELECT max(n), count(*) FROM numbered") == [(1, 50)]


KEYED = """
class Counter:
    def open(self, context):
        self.state = context.state

    def __call__(self, record):
        seen = self.state[record["key"]]
        seen["n"] = seen.get("n", 0) + 1
        if record["seq"] < 0:
            raise ValueError("after the change")
        return record | seen
"""


@pytest.mark.parametrize("code", ["own", "keyed"])
def test_a_reload_keeps_the_state_where_the_step_stays_and_where_it_is_made_anew(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], code: str
) -> None:
    counter = {"own": COUNTER, "keyed": KEYED}[code]
    (tmp_path / "steps.py").write_text(counter)
    config = SMALL.replace(
        '{ type = "count", by = "key" }', '{ type = "python", function = "steps.py:Counter" }'
    )
    writer = Writer(tmp_path / "in.log")
    daemon = start(config, **third_party())
    for change in (
        lambda: None,
        lambda: (tmp_path / "steps.py").write_text(counter + "# other\n"),
        lambda: None,
    ):
        writer.write(100)
        daemon.wait_rows(writer.count, "numbered")
        change()
        reloads = len(daemon.events("reloaded"))
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda before=reloads: len(daemon.events("reloaded")) > before, "the reload")
    assert daemon.events("reloaded")[1]["steps_replaced"] == "numbered > python[0]"
    writer.write(100)
    daemon.wait_rows(writer.count, "numbered")
    kill(daemon)
    daemon = run_once(start, writer, config)
    assert set_aside(daemon) == []
    assert daemon.query("SELECT seq, key, n FROM numbered ORDER BY seq") == writer.numbered


COUNTER = """
import json

class Counter:
    def __init__(self):
        self.seen = {}

    def __call__(self, record):
        self.seen[record["key"]] = self.seen.get(record["key"], 0) + 1
        return record | {"n": self.seen[record["key"]]}

    def snapshot(self):
        return json.dumps(self.seen).encode()

    def restore(self, state):
        self.seen = json.loads(state)
"""


WINDOWS_OF_SEVEN = """
import json

class Windows:
    def __init__(self):
        self.open = []

    def __call__(self, record):
        self.open.append(record["seq"])
        if len(self.open) < 7:
            return []
        first, *_, last = self.open
        self.open = []
        return {"seq": first, "n": last}

    def snapshot(self):
        return json.dumps(self.open).encode() if self.open else NOTHING

    def restore(self, state):
        self.open = json.loads(state)
"""


@pytest.mark.parametrize("nothing", ["None", "b''"])
def test_a_state_of_nothing_contains_its_frames_too(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], nothing: str
) -> None:
    (tmp_path / "steps.py").write_text(WINDOWS_OF_SEVEN.replace("NOTHING", nothing))
    config = SMALL.replace('type = "count", by = "key"', 'type = "python", function = "steps.py:Windows"')
    writer = Writer(tmp_path / "in.log")
    writer.write(10)
    daemon = start(config)
    wait_until(lambda: position(daemon) == 10, "the position")
    behind = (tmp_path / "var" / "positions" / "log.json").read_bytes()
    writer.write(4)
    wait_until(lambda: seen(daemon) == 14, "the state", 20)
    kill(daemon)
    (tmp_path / "var" / "positions" / "log.json").write_bytes(behind)  # as if killed before it was saved
    writer.write(7)
    daemon = start(config)
    daemon.wait_rows(3, "numbered")
    daemon.stop()
    assert daemon.query("SELECT seq, n FROM numbered ORDER BY seq") == [(0, 6), (7, 13), (14, 20)]
    daemon = start(SMALL, **third_party())
    kill(daemon)
    assert set_aside(daemon) == []
    assert [step for step, _ in in_file(daemon)] in ([], ["count[0]"])


FAILING = """
import json

class Odd(Exception):
    def __repr__(self):
        raise ValueError("no text")

    __str__ = __repr__

class Fails:
    def __call__(self, record):
        return record

    def snapshot(self):
        STATE

    def restore(self, state):
        raise Odd
"""


def test_a_snapshot_that_always_fails_is_logged_once_and_no_text_of_its_error_ends_the_daemon(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], stays: Any
) -> None:
    config = SMALL.replace('type = "count", by = "key"', 'type = "python", function = "steps.py:Fails"')
    steps = tmp_path / "steps.py"
    steps.write_text(FAILING.replace("STATE", "return b'state'"))
    Writer(tmp_path / "in.log").write(20)
    daemon = start(config)
    daemon.wait_rows(20, "numbered")
    daemon.stop()
    steps.write_text(FAILING.replace("STATE", "raise Odd"))
    daemon = start(config)
    assert set_aside(daemon) == ["the step cannot restore it: Odd: (its text cannot be read)"]
    wait_until(lambda: daemon.events("state_not_taken"), "the failure")
    stays(lambda: len(daemon.events("state_not_taken")) == 1, 0.6)
    daemon.wait_rows(20, "numbered")
    daemon.stop()


def test_twins_of_which_one_has_nothing_to_store_do_not_change_places(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    (tmp_path / "steps.py").write_text(WINDOWS_OF_SEVEN.replace("NOTHING", "None"))
    twin = '{ type = "python", function = "steps.py:Windows" }'
    config = SMALL.replace('{ type = "count", by = "key" }', f"{twin}, {twin}")
    writer = Writer(tmp_path / "in.log")
    for count in (14, 28, 7):  # at the first two stops only the second step has an open window
        writer.write(count)
        daemon = start(config)
        wait_until(lambda daemon=daemon: position(daemon) == writer.count, "the position")
        daemon.stop()
    assert daemon.query("SELECT seq, n FROM numbered") == [(0, 42)]


def test_states_are_listed_beside_the_daemon_and_dropped_after_it(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    writer = Writer(tmp_path / "in.log")
    writer.write(20)
    daemon = start(SMALL, **third_party())
    wait_until(lambda: seen(daemon) == 20, "the state")

    def state(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "streamd", "state", *arguments, "--config", str(daemon.config)]
        env = {**os.environ, **third_party()}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    [row] = map(json.loads, state("list", "--json").stdout.splitlines())
    assert (row["pipeline"], row["step"], row["use"]) == ("numbered", "count[0]", "current")
    refused = state("drop", "--all", "--yes")
    assert (refused.returncode, str(daemon.process.pid) in refused.stderr) == (1, True)
    daemon.stop()
    assert state("drop", "--all", "--yes").stdout == "deleted 1 state\n"
    assert state("list", "--json").stdout == ""


def without(config: str, *tables: str) -> str:
    """The configuration without these tables."""
    parts = config.split("\n[")
    return "\n[".join(part for part in parts if part.partition("]")[0] not in tables)


HELD = without(CONFIG, "pipelines.numbered", "pipelines.totals", "sinks.numbered", "sinks.totals")


def test_a_position_never_passes_a_frame_that_a_step_holds(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], stays: Any, pace: Any
) -> None:
    writer = Writer(tmp_path / "in.log")
    writer.write(100)
    daemon = start(HELD.replace("150ms", "1h"), **third_party())
    wait_until((tmp_path / "var" / "positions" / "log.json").exists, "a position")
    stays(lambda: position(daemon) == 0, 1.5)
    kill(daemon)
    for _ in range(3):
        writer.write(500)
        daemon = start(HELD, **third_party())
        pace(0.4)
        kill(daemon)
    writer.write(10)
    daemon = start(HELD, **third_party())
    daemon.wait_rows(writer.count, "delayed")
    daemon.stop()
    assert daemon.query("SELECT seq FROM delayed ORDER BY seq") == [(n,) for n in range(writer.count)]
    assert position(daemon) == writer.count
    assert not (tmp_path / "var" / "state.db").exists()


def test_a_codec_that_always_holds_a_frame_is_named_as_the_cause_of_an_old_state(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    lagging = SMALL.replace('codec = "json"', 'codec = "lagging"').replace("200ms", "100ms")
    writer = Writer(tmp_path / "in.log")
    writer.write(3)
    daemon = start(lagging, **third_party())
    daemon.wait_rows(2, "numbered")
    (event,) = wait_until(lambda: daemon.events("state_delayed"), "the event")
    assert (event["steps"], event["why"]) == (
        "numbered > count[0]",
        "the codec of source log holds frames",
    )
    assert (states(daemon), position(daemon)) == ([], 0)
    daemon.stop()
    assert len(daemon.events("state_delayed")) == 1
    assert (seen(daemon), position(daemon)) == (3, 3), "at the stop the codec releases it"
    assert daemon.query("SELECT seq, key, n FROM numbered ORDER BY seq") == writer.numbered


def test_a_step_that_holds_records_is_named_as_the_cause_of_an_old_state_each_time_anew(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    config = without(CONFIG, "pipelines.totals", "sinks.totals").replace("200ms", "100ms")
    config = config.replace("150ms", "1500ms")
    writer = Writer(tmp_path / "in.log")
    daemon = start(config, **third_party())
    for count in (1, 2):
        writer.write(10)
        wait_until(lambda before=count: len(daemon.events("state_delayed")) == before, "the event")
        wait_until(lambda: seen(daemon) == writer.count, "the state")
    daemon.stop()
    why = {event["why"] for event in daemon.events("state_delayed")}
    assert why == {"frames of source log have no result yet: a step or a sink still has them"}


def put_back(daemon: Any, frames: int) -> None:
    """Put the remembered position behind so many lines, as after a kill between the two writes."""
    path = daemon.folder / "var" / "positions" / "log.json"
    lines = (daemon.folder / "in.log").read_bytes().splitlines(keepends=True)[:frames]
    remembered = {**json.loads(path.read_text()), "offset": len(b"".join(lines)), "frames": frames}
    path.write_text(json.dumps({**remembered, "before": ""}))


FRAMED = 'framing = "newline"\ncodec'
NOT_KNOWN = "the framing of source log has changed: which frames after number {} it contains is not known"


@pytest.mark.parametrize(
    ("now", "behind", "fits"),
    [
        ('framing = "nul"\ncodec', 20, False),
        ('framing = { type = "length_prefix", size = 2 }\ncodec', 20, False),
        ('framing = "newline"\nmax_frame = "40B"\ncodec', 20, False),
        ('framing = "newline"\noversize = "drop"\ncodec', 20, False),
        ('framing = "newline"\nmax_frame = "1KiB"\ncodec', 50, True),
        (FRAMED, 20, True),
        ("codec", 20, True),
        ('schema = "reading"\ncodec', 20, True),
    ],
    ids=["type", "options", "max_frame", "oversize", "nothing to skip", "same", "default", "codec"],
)
def test_frames_are_skipped_only_if_the_framing_gives_them_the_numbers_that_the_state_knows(
    start: Callable[..., Any], tmp_path: Path, now: str, behind: int, *, fits: bool
) -> None:
    writer = Writer(tmp_path / "in.log")
    daemon = run_once(start, writer, SMALL.replace("codec", FRAMED))
    put_back(daemon, behind)
    writer.write(1)
    schema = '\n[schemas.reading]\nseq = "int"\nkey = "str"\n'
    daemon = start(SMALL.replace("codec", now) + schema, **third_party())
    if fits:
        daemon.wait_rows(51, "numbered")
        assert set_aside(daemon) == []
        daemon.stop()
        assert daemon.query("SELECT seq, key, n FROM numbered ORDER BY seq") == writer.numbered
        assert daemon.books()["log", "", "", "received"] == 1
        return
    assert set_aside(daemon) == [NOT_KNOWN.format(behind)]
    if "nul" in now or "length_prefix" in now:
        kill(daemon)  # the last frame has no end yet
        return
    daemon.wait_rows(51, "numbered")
    daemon.stop()
    assert daemon.books()["log", "", "", "received"] == 51 - behind
    anew = Writer(tmp_path / "again.log")
    anew.count = behind
    anew.write(51 - behind)
    rows = daemon.query("SELECT seq, key, n FROM numbered ORDER BY seq")
    assert rows == writer.numbered[:behind] + anew.numbered


@pytest.mark.parametrize(("behind", "fits"), [(20, False), (50, True), (70, True), (100, True)])
def test_frames_of_a_framing_before_a_reload_are_not_skipped_by_the_numbers_of_the_one_after_it(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], behind: int, *, fits: bool
) -> None:
    writer = Writer(tmp_path / "in.log")
    writer.write(50)
    daemon = start(SMALL, **third_party())
    wait_until(lambda: seen(daemon) == 50, "the state")
    other = SMALL.replace("codec", 'framing = "newline"\nmax_frame = "1KiB"\ncodec')
    daemon.config.write_text(other)
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.events("reloaded"), "the reload")
    writer.write(50)
    wait_until(lambda: seen(daemon) == position(daemon) == 100, "the state and the position")
    kill(daemon)
    put_back(daemon, behind)
    writer.write(1)
    daemon = start(other, **third_party())
    daemon.wait_rows(101, "numbered")
    daemon.stop()
    assert set_aside(daemon) == ([] if fits else [NOT_KNOWN.format(behind)])
    undisturbed = daemon.query("SELECT seq, key, n FROM numbered ORDER BY seq") == writer.numbered
    assert undisturbed == fits
    assert daemon.books()["log", "", "", "received"] == (1 if fits else 101 - behind)


def test_a_state_of_an_earlier_version_that_names_no_framing_fits_where_no_frame_is_skipped(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    writer = Writer(tmp_path / "in.log")
    for behind, why in ((50, []), (80, [NOT_KNOWN.format(80)])):
        daemon = run_once(start, writer)
        put_back(daemon, behind)
        with sqlite3.connect(tmp_path / "var" / "state.db") as connection:
            connection.execute("UPDATE state SET inputs = json_remove(inputs, '$.log[3]', '$.log[2]')")
        connection.close()
        daemon = start(SMALL, **third_party())
        assert set_aside(daemon) == why
        kill(daemon)


def reload(daemon: Any, config: str, wait_until: Callable[..., Any]) -> None:
    """Give the daemon another configuration, and wait until that is in force."""
    before = len(daemon.events("reloaded"))
    daemon.config.write_text(config)
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(daemon.events("reloaded")) > before, "the reload")


def remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()


def put_an_older_one(path: Path) -> None:
    """Somebody restores a backup over the file that is open."""
    (path.parent / "backup.db").replace(path)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def overwrite(path: Path) -> None:
    path.write_bytes((path.parent / "backup.db").read_bytes())


@pytest.mark.parametrize("lose", [remove, put_an_older_one, overwrite])
def test_a_state_file_that_is_lost_while_the_daemon_runs_is_made_again_with_the_present_states(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], lose: Callable[[Path], None]
) -> None:
    writer = Writer(tmp_path / "in.log")
    path = tmp_path / "var" / "state.db"
    daemon = start(SMALL, **third_party())
    writer.write(20)
    wait_until(lambda: seen(daemon) == 20, "the state")
    with sqlite3.connect(path) as source, sqlite3.connect(path.parent / "backup.db") as backup:
        source.backup(backup)
    source.close()
    backup.close()
    writer.write(30)
    wait_until(lambda: seen(daemon) == position(daemon) == 50, "the next state")
    lose(path)
    writer.write(30)
    wait_until(lambda: path.exists() and seen(daemon) == position(daemon) == 80, "the state in the new file")
    kill(daemon)
    daemon = run_once(start, writer)
    assert set_aside(daemon) == []
    assert daemon.query("SELECT seq, key, n FROM numbered ORDER BY seq") == writer.numbered


def test_the_first_step_with_a_state_may_come_with_a_reload(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    writer = Writer(tmp_path / "in.log")
    daemon = start(SMALL.replace('steps = [{ type = "count", by = "key" }]', ""), **third_party())
    writer.write(50)
    daemon.wait_rows(50, "numbered")
    assert not (tmp_path / "var" / "state.db").exists()
    reload(daemon, SMALL, wait_until)
    after = Writer(writer.path)
    after.count = 50
    after.write(50)
    wait_until(lambda: seen(daemon) == position(daemon) == 100, "the state and the position")
    kill(daemon)
    after.write(10)
    daemon = start(SMALL, **third_party())
    daemon.wait_rows(110, "numbered")
    daemon.stop()
    assert set_aside(daemon) == []
    assert daemon.query("SELECT seq, key, n FROM numbered WHERE seq >= 50 ORDER BY seq") == after.numbered


@pytest.mark.parametrize("when", ["after a kill", "after a stop", "at a reload"])
def test_a_source_that_gets_another_name_keeps_the_state_of_the_steps_behind_it(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], when: str
) -> None:
    renamed = SMALL.replace("sources.log", "sources.journal").replace('["log"]', '["journal"]')
    writer = Writer(tmp_path / "in.log")
    writer.write(200)
    daemon = start(SMALL, **third_party())
    wait_until(lambda: seen(daemon) == 200, "the state")
    if when == "at a reload":
        reload(daemon, renamed, wait_until)
        writer.write(100)
        daemon.wait_rows(writer.count, "numbered")
        kill(daemon)
    elif when == "after a kill":
        kill(daemon)
    else:
        daemon.stop()
    daemon = run_once(start, writer, renamed)
    assert set_aside(daemon) == []
    assert daemon.query("SELECT seq, key, n FROM numbered ORDER BY seq") == writer.numbered


THREADED = SMALL.replace(
    '{ type = "count", by = "key" }',
    '{ type = "python", function = "steps.py:Counter", executor = "thread", timeout = "500ms" }',
)
HANGING = """
import time
""" + COUNTER.replace(
    "def __call__(self, record):",
    "def __call__(self, record):\n        time.sleep(2.0 if record['key'] == 'hang' else 0)",
)


def test_a_step_in_a_thread_that_is_given_up_keeps_the_state_that_is_stored(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    (tmp_path / "steps.py").write_text(HANGING)
    writer = Writer(tmp_path / "in.log")
    daemon = start(THREADED, **third_party())
    writer.write(50)
    wait_until(lambda: seen(daemon) == position(daemon) == 50, "the state")
    with writer.path.open("a") as file:
        file.write('{"seq": 1000, "key": "hang"}\n')
    wait_until(lambda: daemon.events("step_batch_lost"), "the loss")
    assert (seen(daemon), position(daemon)) == (50, 50), "no state while the call is still running"
    wait_until(lambda: seen(daemon) == position(daemon) == 51, "the end of the call")
    writer.write(50)
    wait_until(lambda: seen(daemon) == position(daemon) == 101, "a state behind it")
    kill(daemon)
    daemon = start(THREADED, **third_party())
    writer.write(10)
    daemon.wait_rows(writer.count, "numbered")
    daemon.stop()
    assert set_aside(daemon) == []
    assert daemon.query("SELECT seq, key, n FROM numbered ORDER BY seq") == writer.numbered
    assert [letter[1] for letter in daemon.dead_letters("log")] == ["timeout"]


def test_a_step_with_a_state_is_refused_in_worker_processes(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(COUNTER)
    (tmp_path / "streamd.toml").write_text(THREADED.replace('"thread"', '"process"'))
    command = [sys.executable, "-m", "streamd", "check", "streamd.toml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2
    assert "snapshot and restore of class Counter do not work in worker processes" in said


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (COUNTER + "# other\n", ""),
        (KEYED + "# other\n", ""),
        (
            KEYED.replace("class Counter:", "class Counter:\n    state_version = 2"),
            "the step has changed the",
        ),
        (
            COUNTER.replace("class Counter:", "class Counter:\n    state_version = 2"),
            "the step has changed the version",
        ),
        (
            COUNTER.replace("self.seen = json.loads(state)", "raise ValueError('no')"),
            "the step cannot restore it: Val",
        ),
    ],
    ids=["same states", "same values by key", "other values by key", "another version", "refused"],
)
def test_changed_code_gets_the_stored_state_unless_it_says_that_it_cannot_use_it(
    start: Callable[..., Any], tmp_path: Path, code: str, why: str
) -> None:
    config = THREADED.replace(', executor = "thread", timeout = "500ms"', "")
    (tmp_path / "steps.py").write_text(KEYED if "context.state" in code else COUNTER)
    writer = Writer(tmp_path / "in.log")
    run_once(start, writer, config)
    (tmp_path / "steps.py").write_text(code)
    daemon = run_once(start, writer, config)
    assert [text[: len(why)] for text in set_aside(daemon)] == ([why] if why else [])
    rows = daemon.query("SELECT seq, key, n FROM numbered ORDER BY seq")
    assert (rows == writer.numbered) == (not why)


def test_frames_are_skipped_in_a_file_that_was_rotated_after_the_kill(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    config = SMALL.replace("codec", 'rotate_wait = "100ms"\ncodec')
    writer = Writer(tmp_path / "in.log")
    daemon = start(config, **third_party())
    writer.write(60)
    wait_until(lambda: seen(daemon) == position(daemon) == 60, "the state")
    kill(daemon)
    put_back(daemon, 20)
    writer.write(20)
    writer.path.rename(tmp_path / "in.log.1")
    writer.write(30)
    daemon = start(config, **third_party())
    daemon.wait_rows(110, "numbered")
    daemon.stop()
    assert set_aside(daemon) == []
    assert daemon.books()["log", "", "", "already_in_state"] == 40
    assert daemon.query("SELECT seq, key, n FROM numbered ORDER BY seq") == writer.numbered


def test_a_rotation_between_the_skipped_frames_changes_no_number(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    config = SMALL.replace("codec", 'rotate_wait = "100ms"\ncodec')
    writer = Writer(tmp_path / "in.log")
    daemon = start(config, **third_party())
    writer.write(60)
    wait_until(lambda: position(daemon) == 60, "the first file")
    remembered = (tmp_path / "var" / "positions" / "log.json").read_text()
    writer.path.rename(tmp_path / "in.log.1")
    writer.write(40)
    wait_until(lambda: seen(daemon) == 100, "the state of both files")
    kill(daemon)
    (tmp_path / "var" / "positions" / "log.json").write_text(remembered)
    writer.path.rename(tmp_path / "in.log.2")
    (tmp_path / "in.log.1").rename(tmp_path / "in.log.3")
    (tmp_path / "in.log.2").rename(tmp_path / "in.log.1")
    (tmp_path / "in.log.3").rename(tmp_path / "in.log.2")
    writer.write(30)
    daemon = start(config, **third_party())
    daemon.wait_rows(130, "numbered")
    daemon.stop()
    assert set_aside(daemon) == []
    assert daemon.books()["log", "", "", "already_in_state"] == 40
    assert daemon.query("SELECT seq, key, n FROM numbered ORDER BY seq") == writer.numbered


def test_a_full_disk_keeps_the_state_and_the_position_of_before_until_there_is_room(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a mount needs root and unshare")
    var, log = tmp_path / "var", tmp_path / "in.log"
    var.mkdir()
    mount = f"mount -t tmpfs -o size=6m none '{var}' && exec \"$@\""
    config = SMALL.replace('path = "streamd.db"', f'path = "{tmp_path}/data.db"')
    daemon = start(config, "unshare", "-m", "sh", "-c", mount, "sh", **third_party())
    there = Path(f"/proc/{daemon.process.pid}/root{var}")

    def write(first: int, end: int) -> None:
        with log.open("a") as file:
            file.writelines(json.dumps({"seq": n, "key": f"{n:0500}"}) + "\n" for n in range(first, end))

    def saved() -> tuple[int, int]:
        copies = tmp_path / "copies"  # SQLite would follow /proc/<pid>/root to another folder
        copies.mkdir(exist_ok=True)
        try:
            for name in ("state.db", "state.db-wal"):
                shutil.copyfile(there / name, copies / name)
            with closing(sqlite3.connect(copies / "state.db")) as connection:
                rows = connection.execute("SELECT inputs FROM state").fetchall()
            remembered = json.loads((there / "positions" / "log.json").read_text())
        except (sqlite3.DatabaseError, FileNotFoundError):
            return 0, 0  # not yet
        return max((json.loads(inputs)["log"][1] for (inputs,) in rows), default=0), remembered["frames"]

    def stored() -> int:
        with closing(sqlite3.connect(tmp_path / "data.db", timeout=60)) as connection:
            return int(connection.execute("SELECT count(*) FROM numbered").fetchone()[0])

    write(0, 50)
    wait_until(lambda: saved() == (50, 50), "the state and the position")
    with (there / "fill").open("wb", buffering=0) as fill, suppress(OSError):
        while True:
            fill.write(bytes(4096))
    write(50, 2000)
    wait_until(lambda: daemon.events("state_not_written"), "the event")
    wait_until(lambda: stored() == 2000, "the rows, which are on another disk")
    wait_until(lambda: saved() == (50, 50), "nothing of what the full disk does not take")
    (there / "fill").unlink()
    wait_until(lambda: saved() == (2000, 2000), "the state and the position after it")
    daemon.process.terminate()
    assert daemon.process.wait(60) == 0
    assert "books balance" in daemon.stderr
