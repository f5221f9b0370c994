"""What holds for every step, those of other packages too."""

import asyncio
import copy
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from streamd import registry
from streamd.codecs.json import Json
from streamd.config import load
from streamd.core.contracts import Processed, Step, StepContext
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.processes.refusals import refusals
from streamd.runtime.stage import Stage

NewStep = Callable[[Any], Step[Any]]
Event = tuple[list[dict[str, Any]], float]

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "filter": [{"where": "n > 1"}, {"where": "n + 1 == t"}],
    "python": [
        {"function": "steps.py:one"},
        {"function": "steps.py:some", "mode": "batch"},
        {"function": "steps.py:Sums"},
        {"function": "steps.py:Late"},
        {"function": "steps.py:Counts"},
        {"function": "steps.py:Means", "max_keys": 2, "tick_every": "1s"},
    ],
    "set": [{"fields": {"m": "n * 2"}}],
    "tally": [{"size": 3}, {}],
    "count": [{"by": "n"}, {"by": "t", "start": 5}],
    "totals": [{"by": "t", "sum_of": "n"}, {"by": "t", "sum_of": "n", "every": "2s"}],
}
"""More than a type requires, where that makes a difference; a type without an entry is tested as well."""
USERS_CODE = """
import json
import streamd
def one(record):
    if record.get("n") == 1:
        return streamd.DROP
    if record.get("n") == 2:
        return [record, dict(record)]
    if record.get("n") == 3:
        raise streamd.Reject("three")
    return record
def some(records):
    return [record for record in records if record.get("n") != 1]
class Late:
    def __init__(self):
        self.kept, self.due = [], None
    def __call__(self, record):
        self.kept.append(record)
        self.due = 0.0
        return []
    def next_deadline(self):
        return self.due
    def tick(self, now):
        kept, self.kept, self.due = self.kept, [], None
        return kept
class Counts:
    def open(self, context):
        self.context = context
    def process(self, records):
        made = []
        for record in records:
            seen = self.context.state[record.get("by")]
            seen["n"] = record["count"] = seen.get("n", 0) + 1
            made.append(streamd.Reject("three", record) if record.get("n") == 3 else record)
        return made
class Means:
    def open(self, context):
        self.state = context.state
    def __call__(self, record):
        seen = self.state[record.get("t")]
        seen["n"] = seen.get("n", 0) + 1
        seen["sum"] = seen.get("sum", 0) + record["n"]
        return []
    def tick(self, now):
        return [{"t": key, "mean": seen["sum"] / seen["n"]} for key, seen in self.state.items()]
class Sums(Late):
    def __init__(self):
        super().__init__()
        self.sum = 0
    def __call__(self, record):
        self.sum += record["n"]
        return super().__call__({"sum": self.sum})
    def snapshot(self):
        return json.dumps({"sum": self.sum, "kept": self.kept}).encode()
    def restore(self, state):
        state = json.loads(state)
        self.sum, self.kept = state["sum"], state["kept"]
        self.due = 0.0 if self.kept else None
"""
NOW = Now(1_700_000_000.0, 1000.0)
VALUES = st.none() | st.integers(-3, 9) | st.floats(allow_nan=False) | st.text(max_size=3) | st.booleans()
METRICS: list[dict[str, Any]] = [
    {},
    {"name": "x", "type": "counter", "value": 2, "sample_rate": 0.1},
    {"name": "y", "type": "gauge", "value": -3.5},
    {"name": "y", "type": "gauge_delta", "value": 1},
    {"name": "x", "type": "timer", "value": 7, "tags": {"a": "b"}},
    {"name": "x", "type": "set", "member": "m"},
    {"name": "x", "type": "event", "value": 1},
]
"""What `statsd_aggregate` reads."""
RECORDS = st.lists(
    st.dictionaries(st.sampled_from(["n", "t", "m"]), VALUES)
    | st.builds(
        lambda n, t, metric: {"n": n, "t": t, "by": "k"} | metric,
        st.integers(0, 9),
        st.sampled_from("ab"),
        st.sampled_from(METRICS),
    ),
    max_size=5,
)
EVENTS = st.lists(st.tuples(RECORDS, st.sampled_from([0.0, 0.25, 1.0, 2.5])), max_size=4)

pytestmark = pytest.mark.usefixtures("other_package")
quick = settings(
    max_examples=20,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def users_code(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(USERS_CODE)


@pytest.fixture
def new_of(new_step: Any, least: Callable[..., dict[str, Any]]) -> NewStep:
    """Makes the step of a case, opened."""

    def make(case: Any) -> Step[Any]:
        options = case.options or least(registry.load("steps", case.type).Config)
        step: Step[Any] = new_step(case.type, **options)
        step.open()
        return step

    return make


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Its outcome, for a step that waits for nothing but its turn in the event loop."""
    try:
        while coroutine.send(None) is None:
            pass
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")


class Place:
    """A step in its place, with a clock of its own."""

    def __init__(self, step: Step[Any], now: Now = NOW) -> None:
        self.now = now
        self.stage = Stage("step[0]", step, clock=lambda: self.now)

    def see(self, events: list[Event]) -> list[Any]:
        """What comes out of records and the time that passes behind them."""
        seen: list[Any] = []
        for records, passes_s in copy.deepcopy(events):
            taken_in = len(records)
            done = self.stage.process(records, None, self.now)
            assert taken_in + done.emitted == (
                len(done.records) + done.filtered + done.absorbed + len(done.rejects)
            )
            assert all(reject.reason for reject in done.rejects)
            seen.append((done.records, done.filtered, done.absorbed, [bad.reason for bad in done.rejects]))
            self.now = Now(self.now.wall_s + passes_s, self.now.mono_s + passes_s)
            seen += self.tick()
        return seen

    def tick(self) -> list[Any]:
        """What the ticks make that are due now. A deadline never goes back, and they come to an end."""
        made: list[Any] = []
        for _ in range(100):
            deadline = self.stage.next_deadline() if self.stage.step.is_timed else None
            if deadline is None or deadline > self.now.mono_s:
                return made
            done: Processed = run(self.stage.tick(self.now))
            made += done.records
            following = self.stage.next_deadline()
            assert following is None or following >= deadline
            assert done.records or following is None or following > self.now.mono_s
        raise AssertionError("it is due for ever")


def test_every_option_has_a_description(step_case: Any, new_of: NewStep) -> None:
    config = new_of(step_case).config
    assert not [name for name, info in type(config).model_fields.items() if not info.description]
    assert new_of(step_case).config == config


def test_what_goes_in_comes_out_or_is_counted_and_ticks_come_to_an_end(
    step_case: Any, new_of: NewStep
) -> None:
    @quick
    @given(events=EVENTS)
    def holds(events: list[Event]) -> None:
        place = Place(new_of(step_case))
        place.see([*events, ([], 3600.0)])
        ticks_for_ever = getattr(place.stage.step.config, "tick_every", None) is not None
        assert not place.stage.step.is_timed or ticks_for_ever or place.stage.next_deadline() is None

    holds()


async def test_it_closes_twice_and_opens_again(step_case: Any, new_of: NewStep) -> None:
    step = new_of(step_case)
    await step.close()
    step.open()
    records = [{"n": 5, "t": "a", "by": "k", "name": "x", "type": "timer", "value": 5}]
    step.process(copy.deepcopy(records), NOW)
    await step.close()
    await step.close()
    step.open()
    assert step.process(records, NOW).rejects == []
    await step.close()


def as_one(state: bytes | None) -> Any:
    """A state in a form that is equal for equal ones.

    The pickles of equal models differ in which of their equal texts are one object.
    """
    if state is None or not state[1:].startswith(b"\xa5river"):
        return state
    return msgspec.msgpack.decode(state, type=list)[:-1]


def test_a_new_one_with_the_snapshot_goes_on_as_if_nothing_had_been(step_case: Any, new_of: NewStep) -> None:
    @quick
    @given(before=EVENTS, after=EVENTS)
    def holds(before: list[Event], after: list[Event]) -> None:
        first = Place(new_of(step_case))
        first.see(before)
        step = first.stage.step
        if step.is_timed and not step.is_stateful:
            return  # what it keeps it holds, and is given again
        second = Place(new_of(step_case), Now(first.now.wall_s, 7.0))  # the host was started again
        if step.is_stateful and (state := run(first.stage.snapshot())) is not None:
            run(second.stage.restore(state, second.now))
            assert run(second.stage.snapshot()) == state
        assert second.see(after) == first.see(after)
        if step.is_stateful:
            assert as_one(run(second.stage.snapshot())) == as_one(run(first.stage.snapshot()))

    holds()


SHARED = """
[daemon]
processes = 2
[sources.floor]
type = "tcp"
listen = "127.0.0.1:9000"
[pipelines.main]
sources = ["floor"]
sinks = ["rows"]
steps = [{ type = "drop", fields = ["a"] }]
[sinks.rows]
type = "sqlite"
"""


def test_several_processes_refuse_it_unless_it_forgets_each_record(
    step_case: Any, new_of: NewStep, tmp_path: Path
) -> None:
    """That a step without state and timer forgets is what the test above shows: it goes on like a new one."""
    (tmp_path / "shared.toml").write_text(SHARED)
    loaded = load(tmp_path / "shared.toml")
    main = loaded.config.pipelines["main"].model_copy(
        update={"steps": [SimpleNamespace(type=step_case.type)]}
    )
    loaded = replace(loaded, config=loaded.config.model_copy(update={"pipelines": {"main": main}}))
    step = new_of(step_case)
    found = list(refusals(loaded, {"main": [("step[0]", step)]}))
    assert len(found) == (step.is_stateful or step.is_timed or not step.in_each_process)
    for problem in found:
        assert problem.place == ("pipelines", "main", "steps", 0)
        assert problem.text.startswith(f"{step_case.type} remembers records, and every process receives")
        for way_out in ("daemon.processes = 1", "a configuration of its own", "docs/how-to/jetstream.md"):
            assert way_out in problem.text


STREAM: list[Event] = [
    (
        [
            {"n": n, "t": "ab"[n % 2], "by": "k", "name": "x", "type": "gauge", "value": n}
            for n in range(size)
        ],
        0.0,
    )
    for size in (4, 1)
]


def test_a_snapshot_that_is_none_of_its_own_is_refused_and_it_begins_anew(
    step_case: Any, new_of: NewStep, new_step: Any
) -> None:
    fresh = Place(new_of(step_case))
    if not fresh.stage.step.is_stateful:
        pytest.skip("it has no state")
    fresh.see(STREAM)
    state = run(fresh.stage.snapshot())
    assert state
    strangers = [("tally", {}), ("count", {"by": "n"}), ("totals", OPTIONS["totals"][0])]
    bad = [b"", state[: len(state) // 2], b"\xff" + state, b"null", b"[]", b"\0" * len(state)]
    for name, options in strangers:
        if name != step_case.type:
            other = new_step(name, **options)
            other.open()
            Place(other).see(STREAM)
            bad.append(other.snapshot())
    for bytes_ in bad:
        place = Place(new_of(step_case))
        with pytest.raises((ValueError, TypeError, KeyError)):
            run(place.stage.restore(bytes_, place.now))
        assert place.see(STREAM) == Place(new_of(step_case)).see(STREAM), bytes_


@pytest.mark.parametrize("ends", ["drain", "abandon"])
@pytest.mark.parametrize("full", [False, True])
async def test_what_it_keeps_is_settled_once_by_the_time_it_is_closed(
    step_case: Any, new_line: Any, least: Callable[..., dict[str, Any]], ends: str, full: bool
) -> None:
    cls = registry.load("steps", step_case.type)
    config = cls.Config(**(step_case.options or least(cls.Config)))

    def make(context: StepContext) -> Step[Any]:
        step: Step[Any] = cls(config, context)
        return step

    bounds = {"max_records": 2, "when_full": "drop_oldest"} if full else {}
    line = new_line(codec=Json(Json.Config(), None), steps=[make, make], **bounds)
    line.run()
    for records, _ in STREAM * 3:
        payloads = [json.dumps(record).encode() for record in records]
        line.offer(Frames.of([*payloads, b'{"m":[]}', b"{bad"], "127.0.0.1:5", 1e9))
        await asyncio.sleep(0)
    await (line.drain() if ends == "drain" else line.abandon())
    line.assert_exact()
