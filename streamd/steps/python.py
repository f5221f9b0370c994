import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from streamd.core.batch import Record
from streamd.core.contracts import Processed, Step, StepContext
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.failure import failure_of
from streamd.core.hold import Hold
from streamd.core.now import Now
from streamd.core.settings import DurationS
from streamd.functions.calls import Calls, all_rejected
from streamd.functions.context import COUNTED, Context
from streamd.functions.files import Sources
from streamd.functions.keyed_state import KeyedState, StateChanges
from streamd.functions.modules import use_sources
from streamd.functions.options import HOW_IT_RUNS, FunctionOptions
from streamd.functions.reference import Named
from streamd.functions.regular_time import RegularTime
from streamd.functions.user_object import UserObject, restore_kept, snapshot_of


class Python(Step["Python.Config"]):
    """Calls your own function or object with each record or each batch.

    The function gets a shallow copy of the record. If it fails after changing the record, the record is
    rejected unchanged, except for changes inside nested values. A dict that the function returns is copied
    too, so the function may return the same dict again. An exception rejects the record (in batch mode, the
    batch) and nothing else.

    If `function` names a class, the step makes one object of it with `params`, in the process that calls it.
    Then the class may have `process(records)` instead of `__call__(record)`, and `open(context)`: the context
    has `state`, values by key that survive restarts, the time `now` of the batch, and `count`. Of each class
    all of these are optional: `tick(now)` with `next_deadline()` or the option `tick_every`, `snapshot()` and
    `restore(state)`, `close()`.

    A plain function costs about 0.4 µs a record beside its own work. A class that reads and changes one value
    of `context.state` for each record costs about 2 µs more; a key with three numbers takes about 200 bytes,
    and in the stored state about 50.
    """

    counters: ClassVar[Mapping[str, str]] = {
        COUNTED: "what the user's class counts with context.count, by its name",
        "forgotten": "keys whose state was forgotten because of max_keys or a long silence",
    }

    class Config(FunctionOptions):
        """The function, how it is run, and what a class may keep."""

        tick_every: DurationS | None = Field(
            None,
            ge=0.01,
            description="how often `tick(now)` of a class is called, at whole multiples of this time since"
            " 1970; for a class without next_deadline()",
        )
        max_keys: int = Field(
            100_000,
            ge=2,
            le=10_000_000,
            description="most keys in context.state; beyond them those that were not used for longest are"
            " forgotten",
        )
        forget_after: DurationS = Field(
            "7d",  # type: ignore[assignment]  # parsed by the validator
            gt=0,
            description="a key of context.state that is not used for this time, at most twice of it, is"
            " forgotten",
        )

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        self._named = self.named()
        self.in_each_process = not self._named.is_class  # its object may remember records
        self._named.check_clock_and_state(ticks_regularly=config.tick_every is not None)
        _refuse_without_effect(config, self._named)
        self.state_version = self._named.state_version
        self._regular = None if config.tick_every is None else RegularTime(config.tick_every)
        self._holds: list[Hold] = []
        """The holds on frames of records that the object keeps until its next `tick`."""
        self._takes_batches = config.mode == "batch" or self._named.takes_batches
        self.offload = config.offload(context, self._named)
        self._object: UserObject | None = None
        self._carried: KeyedState | None = None
        if config.executor == "process" and self._named.has("open"):
            self._carried = KeyedState(config.max_keys, config.forget_after)
        self._calls: Calls | None = None
        if not self._named.is_class:
            self._calls = Calls(self._named.make(), context.base_dir, takes_batches=self._takes_batches)

    def named(self) -> Named:
        """The function or class. Raises `ConfigError`."""
        return Named(self.config.function, self.context.base_dir, self.config.params)

    def open(self) -> None:
        """Make the object of a class. Raises `EnvironmentFault`, caused by the constructor's exception."""
        if self._calls is None:
            self._opened()

    async def close(self) -> None:
        """Call the object's `close` if it has one. Raises any exception of that method."""
        its, self._object = self._object, None
        if its is not None:
            self._calls = None
            await its.close()

    def is_current(self) -> bool:
        """Whether the function's files are unchanged. An installed package counts as unchanged."""
        return self._named.is_current()

    def files(self) -> tuple[Path, Sources]:
        """The root folder and the sources of the function's modules, as they were read."""
        return self._named.root, self._named.sources

    @classmethod
    def take_files(cls, files: tuple[Path, Sources]) -> None:
        """Import the function's modules from these sources instead of the file system."""
        root, sources = files
        if sources:
            use_sources(root, sources)

    @property
    def is_timed(self) -> bool:
        """Whether the class has `tick`."""
        return self._named.has("tick")

    @property
    def is_stateful(self) -> bool:
        """Whether the class has `snapshot`, or `open`, in which it may take `context.state`."""
        return self._named.has("snapshot") or self._named.has("open")

    def state_settings(self) -> Mapping[str, Any]:
        return self.config.model_dump(mode="json", exclude={*HOW_IT_RUNS, *_WHEN_IT_FORGETS})

    def next_deadline(self) -> float | None:
        if self._object is None:
            return None
        return self._object.next_deadline() if self._regular is None else self._regular.due_mono_s

    def tick(self, now: Now) -> Processed:
        """The records that the object's `tick` returns. Raises any exception of that method."""
        if self._object is None:
            return Processed([])
        if self._regular is not None:
            knew_the_time = self._regular.is_set
            self._regular.set(now)
            if not knew_the_time:
                return Processed([])
        done, changes = self._object.tick(now)
        self._put(done, changes)
        if done.records:
            done.holds, self._holds = self._holds, []
        return done

    @property
    def carried(self) -> KeyedState | None:
        """In the daemon the state of all worker processes, in one of them its own."""
        if self._object is None or self._object.context is None:
            return self._carried
        return self._object.context.kept

    def snapshot_parts(self) -> Iterator[bytes]:
        if self._object is not None:
            return self._object.snapshot_parts()
        return iter(()) if self._carried is None else snapshot_of(None, self._carried)

    def restore(self, state: bytes, now: Now) -> None:
        if self._regular is not None:
            self._regular.set(now)
        if self._object is not None:
            self._object.restore(state, now)
        elif self._carried is not None:
            restore_kept(state, self._carried, now)

    def _kept(self, done: Processed, changes: StateChanges | None = None) -> Processed:
        """Count the records that a timed object did not return as absorbed: it keeps them until `tick`.

        Their frames are held, unless the object has a state that keeps them over a crash.
        """
        if done.filtered and self.is_timed:
            done.absorbed, done.filtered = done.filtered, 0
            survives = self._object is not None and self._object.survives(changes)
            if not survives and (hold := self.context.hold()) is not None:
                self._holds.append(hold)
        return done

    def _put(self, done: Processed, changes: StateChanges | None) -> None:
        """Put the changes into the state now, or when the result of a waiting step is used."""
        if changes is None or self._object is None or self._object.context is None:
            return
        if self.offload is None:
            self._object.context.put(changes)
        else:
            done.changes = changes.packed
            done.commit = partial(self._object.context.put, changes)

    def _context(self, now: Now) -> Context | None:
        """The context of the object; None if it has none. Tells the time to a regular clock."""
        if self._object is None:
            return None
        if self._regular is not None and not self._regular.is_set:
            self._regular.set(now)
        return self._object.context

    def process(self, records: list[Record], now: Now) -> Processed:
        try:
            calls = self._calls or self._opened()
        except EnvironmentFault as fault:
            return all_rejected(records, fault.__cause__ or fault, self.context.base_dir)
        context = self._context(now)
        if context is None:
            return self._kept(calls.process(records))
        with context.batch(now) as changes:
            done = calls.process(records, changes)
        self._put(done, changes)
        return self._kept(done, changes)

    async def process_async(
        self, records: list[Record], now: Now, is_cancelled: Callable[[], bool]
    ) -> Processed:
        try:
            calls = self._calls or self._opened()
        except EnvironmentFault as fault:
            return all_rejected(records, fault.__cause__ or fault, self.context.base_dir)
        context = self._context(now)
        if context is None:
            return self._kept(await calls.process_async(records, None, is_cancelled))
        with context.batch(now) as changes:
            done = await calls.process_async(records, changes, is_cancelled)
        self._put(done, changes)
        return self._kept(done, changes)

    def _opened(self) -> Calls:
        try:
            # Standard output may carry the records of a sink or of `streamd try`.
            with contextlib.redirect_stdout(sys.stderr):
                made = UserObject(self._named, self._new_context)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = failure_of(error, self.context.base_dir).text
            raise EnvironmentFault(f"{self.context.place}: {self.config.function}: {text}") from error
        self._object = made
        self._calls = Calls(made.function, self.context.base_dir, takes_batches=self._takes_batches)
        return self._calls

    def _new_context(self) -> Context:
        config, context = self.config, self.context
        return Context(
            context.name,
            context.pipeline,
            KeyedState(sys.maxsize, math.inf)  # the daemon decides what is forgotten
            if config.executor == "process"
            else KeyedState(config.max_keys, config.forget_after),
            context.counters,
            why_no_state=_OVERLAPPING if config.concurrency > 1 and config.partition_by is None else "",
        )


_WHEN_IT_FORGETS = ("tick_every", "max_keys", "forget_after")
"""Options with which a stored state may be used that was stored with other values of them."""
_OVERLAPPING = (
    "several batches are processed at the same time, so a value could change between its reading and its"
    ' writing: set concurrency = 1, or executor = "process" with partition_by'
)


def _refuse_without_effect(config: Python.Config, named: Named) -> None:
    """Raises `ConfigError` for an option that has no effect on this function or class."""
    if named.takes_batches and "mode" in config.model_fields_set and config.mode == "record":
        raise ConfigError("a class with process(records) gets batches: leave out mode", ("mode",))
    for option in ("max_keys", "forget_after"):
        if option in config.model_fields_set and not named.has("open"):
            raise ConfigError(
                "has no effect: only a class with open(self, context) has a context.state",
                (option,),
            )
