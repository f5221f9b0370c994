"""The steps that thin out and watch records by key, in a daemon that is killed and reloaded."""

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

STEPS: dict[str, dict[str, Any]] = {
    "deduped": {"type": "dedupe", "key": ["id"], "within": "1h", "max_keys": 60},
    "throttled": {"type": "throttle", "key": ["key"], "limit": 40, "per": "1h"},
    "sampled": {"type": "sample", "rate": 0.3},
    "placed": {
        "type": "sequence", "number": "n", "key": ["key"], "wait": "1h", "window": 16, "place": "place",
        "gaps": True, "restart_at": 0,
    },
    "watched": {"type": "expect", "key": ["key"], "every": "1h"},
}  # fmt: skip
COLUMNS: dict[str, dict[str, str]] = {
    "deduped": {"seq": "int", "id": "int"},
    "throttled": {"seq": "int", "key": "str"},
    "sampled": {"seq": "int"},
    "placed": {"seq": "int", "place": "str"},
    "gaps": {"key": "str", "gap_from": "int", "gap_to": "int", "missing": "int"},
    "watched": {"key": "str", "expect": "str"},
}
UNIQUE = {"gaps": ["key", "gap_from", "gap_to"], "watched": ["key", "expect"]}
SINKS = {
    "placed": '[{ name = "placed", where = "missing is None" }, { name = "gaps", where = "missing > 0" }]',
    "watched": '[{ name = "watched", where = "expect is not None" }]',
}
LINES = 900


def toml(value: Any) -> str:
    return f"{{ {', '.join(f'{k} = {json.dumps(v)}' for k, v in value.items())} }}"


def config_of(**more: str) -> str:
    """Every step in a pipeline of its own; `more` is put before the step of a pipeline."""
    text = '[ledger]\ninterval = "200ms"\n[sources.log]\ntype = "file"\npath = "in.log"\ncodec = "json"\n'
    for name, step in STEPS.items():
        sinks = SINKS.get(name, f'["{name}"]')
        steps = f"[{more.get(name, '')}{toml(step)}]"
        text += f'[pipelines.{name}]\nsources = ["log"]\nsteps = {steps}\nsinks = {sinks}\n'
    for name, columns in COLUMNS.items():
        text += f'[sinks.{name}]\ntype = "sqlite"\npath = "streamd.db"\ntable = "{name}"\n'
        text += f"columns = {toml(columns)}\n"
        text += f"unique = {json.dumps(UNIQUE.get(name, ['seq']))}\n"
    return text


def stream() -> list[dict[str, Any]]:
    """Records of three senders with losses, duplicates, disorder and restarts."""
    rng = random.Random(3)  # noqa: S311 - no secret
    numbers = dict.fromkeys("abc", 0)
    made: list[dict[str, Any]] = []
    for seq in range(LINES):
        key = rng.choice("abc")
        step = rng.choices([1, 2, 5, 0, -2], [90, 4, 1, 3, 2])[0]
        numbers[key] = 0 if rng.random() < 0.01 else max(0, numbers[key] + step)
        made.append({"seq": seq, "id": rng.randrange(90), "key": key, "n": numbers[key]})
    return made


def undisturbed() -> dict[str, list[tuple[Any, ...]]]:
    """The rows that the steps make of all records at once."""
    tables: dict[str, list[tuple[Any, ...]]] = {}
    for name, options in STEPS.items():
        cls = registry.load("steps", options["type"])
        config = cls.Config(**{key: value for key, value in options.items() if key != "type"})
        step = cls(config, StepContext(name, name, None, Path()))
        made = step.process(stream(), Now(1e9, 1.0)).records
        if name == "watched":
            made = [record for record in made if "expect" in record]
        if name == "placed":
            gaps = [record for record in made if record.get("missing", 0) > 0]
            tables["gaps"] = rows("gaps", gaps)
            made = [record for record in made if "missing" not in record]
        tables[name] = rows(name, made)
    return tables


def rows(table: str, records: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted({tuple(record[name] for name in COLUMNS[table]) for record in records})


def stored(daemon: Any) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of every table."""
    return {
        table: sorted(daemon.query(f"SELECT {', '.join(columns)} FROM {table}"))  # noqa: S608
        for table, columns in COLUMNS.items()
    }


def test_killed_at_any_moment_the_rows_are_those_of_one_undisturbed_run(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], pace: Any
) -> None:
    records, path = stream(), tmp_path / "in.log"
    written = kill_thrice(start, pace, config_of(), path, records, len(STEPS))
    daemon = start(config_of())
    append(path, records[written:])
    expected = undisturbed()
    wait_until(lambda: len(stored(daemon)["placed"]) == len(expected["placed"]), "the last row")
    daemon.stop()
    assert stored(daemon) == expected
    assert len(daemon.events("state_restored")) == len(STEPS)
    assert not daemon.events("state_set_aside")


def test_a_reload_keeps_the_states_of_steps_that_stay_and_of_steps_that_move(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    records = stream()
    path = tmp_path / "in.log"
    append(path, records[:400])
    daemon = start(config_of())
    daemon.wait_rows(400, "placed")
    before = '{ type = "filter", where = "seq >= 0" }, '
    daemon.config.write_text(config_of(deduped=before, placed=before))
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.events("reloaded"), "the reload")
    append(path, records[400:])
    expected = undisturbed()
    wait_until(lambda: len(stored(daemon)["placed"]) == len(expected["placed"]), "the last row")
    daemon.stop()
    assert stored(daemon) == expected
