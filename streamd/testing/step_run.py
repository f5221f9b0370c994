"""Runs one step on records with a virtual clock, for tests of a user's own Python."""

import asyncio
import math
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import uvloop

from streamd.config import component
from streamd.core.batch import METADATA_KEYS, PEER, RECEIVED_AT, SOURCE, Record
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.counters import Counters
from streamd.core.errors import BadData
from streamd.core.now import Now
from streamd.core.plural import counted
from streamd.core.schema import FieldSettings, Schema
from streamd.core.settings import ComponentSettings, parse_duration_s
from streamd.core.timestamp import canonical, from_epoch
from streamd.functions.modules import forget_spaces
from streamd.functions.reference import Named
from streamd.runtime.stage import Stage
from streamd.runtime.ticker import IDLE_S
from streamd.state.key import key_of
from streamd.steps.python import Python
from streamd.testing.clock import VirtualClock, shown_to_python
from streamd.testing.prepared import inline

START = "2026-01-01T00:00:00Z"
"""When a run begins if nothing else is said."""
MOST_TICKS = 100_000
"""After so many ticks one step forward in time has failed: the step is due for ever."""
_SOURCE, _PEER = "test", "192.0.2.1:5000"

Result = TypeVar("Result")


class Rejected(NamedTuple):
    """A record that the step rejected, as it came."""

    record: Record
    reason: str
    detail: str
    error: BaseException | None
    """The exception of the step's own code, if that is why."""


class StepRun:
    """One step with a clock that only the test moves.

    `run_step` makes it. All records leave the step at once; whatever a step holds back comes with `advance`.
    """

    def __init__(
        self,
        step: Mapping[str, Any] | Callable[..., Any],
        *,
        at: str | datetime | float = START,
        folder: Path | str = ".",
        schema: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """As `run_step`, without records."""
        self.records: list[Record] = []
        """The records that have left the step so far, in order. Those of ticks are among them."""
        self.rejects: list[Rejected] = []
        """The records that it has rejected so far."""
        self.filtered = 0
        """The number of records that it has dropped."""
        self.absorbed = 0
        """The number of records that it has kept to make others of them later."""
        self.failures: list[str] = []
        """Faults of the step for which no record is rejected."""
        self.clock = VirtualClock(_epoch_s(at))
        self._counters = Counters()
        self._make = _maker(step, options, Path(folder).resolve(), _schema(schema), self._counters)
        self._schema = _schema(schema)
        self._runner: asyncio.Runner | None = None
        self._stage = self._opened()

    @property
    def now(self) -> Now:
        """The time of the run: `now.wall_s` in seconds since 1970, and `now.mono_s`."""
        return self.clock()

    @property
    def counters(self) -> dict[str, int | dict[str, int]]:
        """The counters of the step, as `/status` shows them; those of `context.count` below `counted`."""
        return self._counters.numbers()

    def send(self, records: Iterable[Record]) -> list[Record]:
        """Give the step one batch now; returns the records that leave it.

        The records get the metadata that they lack. It is removed again from the results.
        """
        batch = [self._received(record) for record in records]
        with shown_to_python(self.clock):
            if self._stage.offloaded is None:
                done = self._stage.process(batch, None, self.now)
            else:
                done = self._run(self._stage.process_waiting(batch, None, self.now, lambda: None, None))
            made = self._book(len(batch), done)
        return made + self._ticked()

    def advance(self, duration: str) -> list[Record]:
        """Let time pass, like `"10s"`; returns the records that leave the step meanwhile.

        The step acts at the times when it would act in a daemon. Raises any exception of its `tick`.
        """
        end_s = self.clock.wall_s + parse_duration_s(duration)
        made: list[Record] = []
        for _ in range(MOST_TICKS):
            due_s = self._due_wall_s()
            if due_s > end_s:
                self.clock.move_to(end_s)
                return made
            self.clock.move_to(due_s)
            made += self._tick()
        raise RuntimeError(
            f"after {MOST_TICKS:,} ticks the step is still due at {from_epoch(self.clock.wall_s)}"
        )

    def restart(self) -> list[Record]:
        """Stop and start the step as a daemon does; returns the records that leave it at the stop.

        Files of Python are read again. The new step gets the stored state of the old one, unless its
        `state_version` is another one. The monotonic clock begins anew.
        """
        before, made = self._stage, []
        state = None
        with shown_to_python(self.clock):
            if before.step.is_stateful:
                state = self._run(before.snapshot())
            elif before.step.is_timed:
                made = self._tick()
            self._run(before.step.close())
            self.clock.begin_anew()
            self._stage = self._opened()
            if state and key_of(self._stage.step) == key_of(before.step):
                self._run(self._stage.restore(state, self.now))
        return made + self._ticked()

    def close(self) -> None:
        """Close the step."""
        with shown_to_python(self.clock):
            self._run(self._stage.close())
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self) -> Stage:
        forget_spaces()
        stage = Stage("step", self._make(), clock=self.clock)
        with shown_to_python(self.clock):
            stage.step.open()
        self._stage = stage
        self._ticked()
        return stage

    def _received(self, record: Record) -> Record:
        given = {SOURCE: _SOURCE, PEER: _PEER, RECEIVED_AT: from_epoch(self.clock.wall_s)} | dict(record)
        if self._schema is None:
            return given
        try:
            checked = self._schema.check(
                {key: value for key, value in given.items() if key not in METADATA_KEYS}
            )
        except BadData as bad:
            raise ValueError(f"the record {record} does not fit the schema: {bad}") from None
        return checked | {key: given[key] for key in METADATA_KEYS}

    def _ticked(self) -> list[Record]:
        """The records that are due now."""
        made: list[Record] = []
        for _ in range(MOST_TICKS):
            if self._due_wall_s() > self.clock.wall_s:
                return made
            more = self._tick()
            if not more:
                return made
            made += more
        raise RuntimeError(
            f"after {MOST_TICKS:,} ticks the step is still due at {from_epoch(self.clock.wall_s)}"
        )

    def _due_wall_s(self) -> float:
        """When the step is due by the wall clock; infinite if it is not."""
        step = self._stage.step
        deadline = step.next_deadline() if step.is_timed else None
        return math.inf if deadline is None else self.clock.wall_at(max(deadline, self.clock.mono_s))

    def _tick(self) -> list[Record]:
        step = self._stage.step
        with shown_to_python(self.clock):
            if self._stage.offloaded is None:
                done = step.tick(self.now)
            else:
                done = self._run(self._stage.offloaded.alone(partial(step.tick, self.now)))
            done.emitted = done.count + len(done.rejects)
            made = self._book(0, done)
            if not made and self._due_wall_s() <= self.clock.wall_s:
                self.clock.move_to(self.clock.wall_s + IDLE_S)
        return made

    def _book(self, taken_in: int, done: Processed) -> list[Record]:
        """Count the result, and return its records without the metadata that they were given here."""
        gone = done.count + done.filtered + done.absorbed + len(done.rejects)
        assert taken_in + done.emitted == gone, (  # noqa: S101 - a broken promise of the step
            f"the step got {counted(taken_in, 'record')} and made {done.emitted} more, but {gone} came out"
        )
        made = list(map(_shown, done.records))
        self.records += made
        self.rejects += [_rejected(bad) for bad in done.rejects]
        self.filtered += done.filtered
        self.absorbed += done.absorbed
        self.failures += [bad.detail for bad in done.failures]
        return made

    def _run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """The result of a coroutine, on an event loop only if the step needs one."""
        if self._stage.offloaded is not None:
            if self._runner is None:
                self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
                weakref.finalize(self, self._runner.close)
            return self._runner.run(coroutine)
        try:
            while True:
                coroutine.send(None)
        except StopIteration as done:
            result: Result = done.value
            return result


def run_step(
    step: Mapping[str, Any] | Callable[..., Any],
    records: Iterable[Record] = (),
    *,
    at: str | datetime | float = START,
    folder: Path | str = ".",
    schema: Mapping[str, Any] | None = None,
    **options: Any,
) -> StepRun:
    """Run one step on records, with a virtual clock that begins at `at`; for tests.

    `step` is the step as in a configuration, `{"type": "python", "function": "steps.py:Mean"}`, with paths
    relative to `folder`; or a function or class itself, with the other keys of the step as `options`
    (`params={...}`, `tick_every="10s"`). The records are one batch. `schema` is needed by steps that use the
    fields of a schema: names and types, as in `[schemas.NAME]`.

    Returns the run with its `records`, `rejects`, `filtered`, `absorbed` and `counters`. `send`, `advance`
    and `restart` go on with it. Steps in threads and processes run inline. `time.time()` and
    `time.monotonic()` show the clock of the run to the step. Raises `ConfigError` for a step that `streamd
    check` refuses, and `EnvironmentFault` if a step cannot be opened.
    """
    run = StepRun(step, at=at, folder=folder, schema=schema, **options)
    if batch := list(records):
        run.send(batch)
    return run


class _Given(Python):
    """The step of a function or class that is given itself instead of its name."""

    given: ClassVar[Any]

    def named(self) -> Named:
        return Named(self.config.function, self.context.base_dir, self.config.params, given=type(self).given)


def _maker(
    step: Mapping[str, Any] | Callable[..., Any],
    options: Mapping[str, Any],
    folder: Path,
    schema: Schema | None,
    counters: Counters,
) -> Callable[[], Step[Any]]:
    """A function that makes the step. Raises `ConfigError`."""
    given: Any = None
    if isinstance(step, Mapping):
        if options:
            raise TypeError(
                f"run_step got the options {', '.join(options)}: write them into the dict of the step"
            )
        table = dict(step)
    else:
        given = step
        name = getattr(step, "__name__", "")
        table = {"type": "python", "function": f"given:{name if name.isidentifier() else 'it'}", **options}
    cls, config = component("steps", inline(ComponentSettings(**table)))
    if given is not None:
        cls = type(
            "Python", (_Given,), {"given": staticmethod(given) if not isinstance(given, type) else given}
        )
    fields = None if schema is None else frozenset(schema.fields)

    def make() -> Step[Any]:
        context = StepContext(f"{table['type']}[0]", "test", schema, folder, fields, counters=counters)
        made: Step[Any] = cls(config, context)
        return made

    return make


def _schema(fields: Mapping[str, Any] | None) -> Schema | None:
    if fields is None:
        return None
    return Schema(
        "test",
        {
            name: FieldSettings.model_validate({"type": field} if isinstance(field, str) else field)
            for name, field in fields.items()
        },
    )


def _epoch_s(at: str | datetime | float) -> float:
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError("at: a datetime needs a zone, like datetime(2026, 1, 1, tzinfo=UTC)")
        return at.timestamp()
    try:
        return datetime.fromisoformat(canonical(at)).timestamp()
    except BadData:
        raise ValueError(f"at: {at!r} is no time like {START!r}") from None


def _shown(record: Record) -> Record:
    is_own = record.get(SOURCE) == _SOURCE and record.get(PEER) == _PEER
    return {key: value for key, value in record.items() if not (is_own and key in METADATA_KEYS)}


def _rejected(bad: BadRecord) -> Rejected:
    return Rejected(_shown(bad.record), bad.reason, bad.detail, bad.error)
