import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streamd import DROP, Reject
from streamd.core.batch import PEER, RECEIVED_AT, SOURCE
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.testing import Rejected, StepRun, run_step


def judge(record: dict[str, Any]) -> Any:
    match record["kind"]:
        case "drop":
            return DROP
        case "twice":
            return [record, record]
        case "reject":
            raise Reject("no such kind")
        case "raise":
            return record["nix"]
    return record


def test_a_run_shows_the_fate_of_every_record() -> None:
    kinds = ["plain", "drop", "twice", "reject", "raise"]
    run = run_step(judge, [{"kind": kind} for kind in kinds])
    assert [record["kind"] for record in run.records] == ["plain", "twice", "twice"]
    assert run.filtered == 1
    first, second = run.rejects
    assert first == Rejected({"kind": "reject"}, "rejected", "no such kind", None)
    assert (second.record, second.reason) == ({"kind": "raise"}, "exception")
    assert "KeyError: 'nix' (" in second.detail
    assert isinstance(second.error, KeyError)


def test_records_have_metadata_in_the_step_and_keep_what_they_had() -> None:
    seen: list[Any] = []

    def look(record: dict[str, Any]) -> dict[str, Any]:
        seen.append(dict(record))
        return record

    given = {"n": 1}
    run = run_step(look, [given, {"n": 2, PEER: "10.0.0.1:7", SOURCE: "lab"}], at=0)
    assert run.records[0] == {"n": 1}
    assert run.records[1] == {
        "n": 2,
        PEER: "10.0.0.1:7",
        SOURCE: "lab",
        RECEIVED_AT: "1970-01-01T00:00:00.000000Z",
    }
    assert (seen[0][SOURCE], seen[0][RECEIVED_AT]) == ("test", "1970-01-01T00:00:00.000000Z")
    assert given == {"n": 1}


@pytest.mark.parametrize(
    ("at", "wall_s"),
    [
        ("2026-01-01T00:00:10Z", 1767225610.0),
        ("2026-01-01T01:00:10+01:00", 1767225610.0),
        (datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC), 1767225610.0),
        (1767225610, 1767225610.0),
        (5.25, 5.25),
    ],
)
def test_a_run_begins_when_it_is_said_and_time_stands_still(at: Any, wall_s: float) -> None:
    run = run_step(lambda record: record | {"at": time.time(), "mono": time.monotonic()}, at=at)
    (first,) = run.send([{}])
    (second,) = run.send([{}])
    assert first == second == {"at": wall_s, "mono": run.now.mono_s}
    assert run.now.wall_s == wall_s
    run.advance("250ms")
    assert run.send([{}]) == [{"at": wall_s + 0.25, "mono": first["mono"] + 0.25}]
    assert time.time() > wall_s + 0.25


@pytest.mark.parametrize("at", ["soon", datetime(2026, 1, 1)])  # noqa: DTZ001 - that is the fault
def test_a_beginning_that_is_no_time_is_refused(at: Any) -> None:
    with pytest.raises(ValueError, match=r"at: .*(soon|zone)"):
        run_step(judge, at=at)


class Late:
    """Emits each record two seconds later."""

    def __init__(self, ends: list[str] | None = None) -> None:
        self.kept: list[dict[str, Any]] = []
        self.due: float | None = None
        self.ends = ends

    def __call__(self, record: dict[str, Any]) -> list[Any]:
        self.kept.append(record)
        self.due = self.due or time.monotonic() + 2
        return []

    def next_deadline(self) -> float | None:
        return self.due

    def tick(self, now: Any) -> list[Any]:
        kept, self.kept, self.due = self.kept, [], None
        return [record | {"at": now.wall_s} for record in kept]


def test_ticks_come_at_their_time() -> None:
    run = run_step(Late, [{"n": 1}], at=100)
    assert (run.records, run.absorbed) == ([], 1)
    assert run.advance("1900ms") == []
    assert run.advance("10s") == [{"n": 1, "at": 102.0}]
    assert run.now.wall_s == pytest.approx(111.9)
    assert run.records == [{"n": 1, "at": 102.0}]


def test_a_step_without_a_state_is_ticked_at_the_stop() -> None:
    run = run_step(Late, [{"n": 1}], at=100)
    assert run.restart() == [{"n": 1, "at": 100.0}]
    assert run.advance("1m") == []


def test_a_step_that_is_due_for_ever_is_noticed() -> None:
    class Busy(Late):
        def next_deadline(self) -> float:
            return 0.0

        def tick(self, now: Any) -> list[Any]:
            return [{}]

    with pytest.raises(RuntimeError, match="the step is still due at 2026-01-01T00:00:00"):
        run_step(Busy)


def test_a_tick_that_raises_fails_the_test() -> None:
    class Broken(Late):
        def tick(self, now: Any) -> list[Any]:
            raise ValueError("in the tick")

    run = run_step(Broken, [{}])
    with pytest.raises(ValueError, match="in the tick"):
        run.advance("1m")


def test_a_restart_reads_changed_code_and_keeps_the_state(tmp_path: Path) -> None:
    source = """
class Count:
    state_version = {version}
    def open(self, context):
        self.state = context.state
    def __call__(self, record):
        seen = self.state["all"]
        seen["n"] = seen.get("n", 0) + {step}
        return record | seen
"""
    file = tmp_path / "steps.py"
    file.write_text(source.format(version=1, step=1))
    run = run_step({"type": "python", "function": "steps.py:Count"}, [{}, {}], folder=tmp_path)
    assert run.records == [{"n": 1}, {"n": 2}]
    file.write_text(source.format(version=1, step=10))
    assert run.restart() == []
    assert run.send([{}]) == [{"n": 12}]
    file.write_text(source.format(version=2, step=10))
    run.restart()
    assert run.send([{}]) == [{"n": 10}]


def test_any_step_can_be_run() -> None:
    run = run_step({"type": "dedupe", "key": ["a"], "within": "10s"}, [{"a": 1}, {"a": 1}])
    assert (run.records, run.filtered, run.counters) == ([{"a": 1}], 1, {"duplicates": 1})
    run.restart()
    assert run.send([{"a": 1}]) == []
    run.advance("11s")
    assert run.send([{"a": 1}]) == [{"a": 1}]


def test_a_schema_makes_the_values_those_of_a_pipeline() -> None:
    schema = {"sensor": "str", "value": {"type": "float", "required": False}}
    run = run_step({"type": "filter", "where": "value > 1"}, [{"sensor": "a", "value": 5}], schema=schema)
    assert run.records == [{"sensor": "a", "value": 5.0}]
    with pytest.raises(ValueError, match="does not fit the schema"):
        run.send([{"sensor": "a", "value": "much"}])
    with pytest.raises(ConfigError, match="valu"):
        run_step({"type": "filter", "where": "valu > 1"}, schema=schema)


def test_an_async_function_runs_without_an_event_loop_of_the_test() -> None:
    class Slow:
        def open(self, context: Any) -> None:
            self.state = context.state

        async def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
            seen = self.state["all"]
            seen["n"] = record["n"] = seen.get("n", 0) + 1
            return record

    with run_step(Slow, [{}, {}]) as run:
        run.restart()
        run.send([{}])
    assert [record["n"] for record in run.records] == [1, 2, 3]


def test_where_a_step_runs_makes_no_difference(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text("import os\ndef pid(record):\n    return {'pid': os.getpid()}\n")
    table = {
        "type": "python",
        "function": "steps.py:pid",
        "executor": "process",
        "concurrency": 2,
        "timeout": "1s",
    }
    assert (
        run_step(table, [{}], folder=tmp_path).records
        == run_step({"type": "python", "function": "steps.py:pid"}, [{}], folder=tmp_path).records
    )


@pytest.mark.parametrize(
    ("make", "error", "why"),
    [
        (lambda: run_step({"type": "dedup", "key": ["a"]}), ConfigError, "did you mean"),
        (lambda: run_step({"type": "dedupe", "key": ["a"], "wihin": "1s"}), ConfigError, "did you mean"),
        (lambda: run_step({"type": "python", "function": "nix.py:f"}), ConfigError, "cannot read"),
        (lambda: run_step({"type": "filter"}, where="a > 1"), TypeError, "write them into the dict"),
        (lambda: run_step(Late, prams={"ends": 1}), ConfigError, "did you mean"),
        (lambda: run_step(Late, params={"end": 1}), ConfigError, "did you mean 'ends'"),
        (lambda: run_step(Late, tick_every="1s"), ConfigError, "next_deadline says when"),
        (lambda: run_step(int), ConfigError, "without __call__"),
        (lambda: run_step(judge).advance("10"), ValueError, "a duration is a number with a unit"),
    ],
)
def test_a_mistake_in_the_test_is_named(
    make: Callable[[], StepRun], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        make()


def test_an_object_that_cannot_be_made_says_where() -> None:
    class Broken:
        def __init__(self) -> None:
            raise ValueError("no model")

        def __call__(self, record: Any) -> Any:
            return record

    with pytest.raises(EnvironmentFault, match=r"ValueError: no model \(.*test_step_run.py"):
        run_step(Broken)


def test_the_counters_of_a_class_are_shown() -> None:
    class Counting:
        def open(self, context: Any) -> None:
            self.context = context

        def process(self, records: list[Any]) -> list[Any]:
            self.context.count("batches")
            self.context.count("records", len(records))
            return records

    run = run_step(Counting, [{}, {}])
    run.send([{}])
    assert run.counters == {"counted": {"batches": 2, "records": 3}}
