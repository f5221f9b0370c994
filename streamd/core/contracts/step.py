"""The contract of steps."""

from abc import ABC
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from streamd.core.batch import Record
from streamd.core.columns import FlatColumns
from streamd.core.contracts.processed import DROP, BadRecord, Dropped, Processed
from streamd.core.counters import Counters
from streamd.core.errors import BadData
from streamd.core.hold import Hold, hold
from streamd.core.now import Now
from streamd.core.quality import Quality
from streamd.core.record_key import RecordKey
from streamd.core.schema import Schema
from streamd.core.settings import Settings
from streamd.core.upstream import Upstream

C = TypeVar("C", bound=Settings)
"""The settings of the step."""


class CarriedState(Protocol):
    """The state by key of a step in worker processes, as MessagePack.

    The daemon has all of it. A process gets the part of its keys when it starts, and sends what each batch
    has changed. Only the daemon forgets keys; it tells the processes.
    """

    owns: Callable[[Any], bool] | None
    """In a process: whether a key is one of its own."""
    on_dropped: Callable[[Collection[Any]], None] | None
    """In the daemon: called with the keys that were forgotten."""

    def begin(self, now: Now) -> int:
        """Called in the daemon for each batch; returns the number of keys that are forgotten."""

    def put(self, changes: Mapping[Any, bytes | None]) -> int:
        """Take changes; None for a key that is gone. Returns the number of keys that had to be forgotten."""

    def packed_items(self) -> Iterator[tuple[Any, bytes]]:
        """All keys and values."""

    def forget(self, keys: Collection[Any]) -> None:
        """Remove keys, as the daemon has done."""


@dataclass(slots=True, frozen=True)
class Offload:
    """How to run a step that must not block the event loop.

    `loop` awaits `process_async` on the loop. `thread` calls `process` in threads. `process` makes the step
    again in worker processes, from its class, config, name and folder, and calls `process` there.
    """

    executor: Literal["loop", "thread", "process"]
    concurrency: int
    """Most batches of the step that are processed at the same time."""
    timeout_s: float
    """A batch that takes longer is rejected."""
    max_batches: int | None = None
    """Number of batches after which a worker process is replaced."""
    memory_limit_bytes: int | None = None
    """The memory that a worker process may use."""
    each: bool = False
    """Whether the step handles each record by itself, so that a batch may be divided anywhere."""
    searches: bool = False
    """Whether a batch that costs its worker process is processed again in parts, to find the record."""
    partition: RecordKey | None = None
    """The key of a record, if all records of a key have to come to the same worker process."""
    carries_state: bool = False
    """Whether all state of the step is in `carried`, so that it outlives a worker process."""


class Step(Generic[C]):
    """Processes records, which are dicts. Each pipeline that names the step has its own instance.

    A new step is a class `class Count(Step["Count.Config"])` with a `Config` and either `process_one`, for
    one record, or `process`, for a batch: each calls the other by default. A step is pure logic: it uses no
    event loop, clock, socket or logger.

    With `offload`, several batches may be processed at the same time; they leave the step in order. No other
    method than `next_deadline` is called meanwhile.

    **Columns.** A step that reads a few fields of each record can set `reads_columns` and define
    `process_columns` beside `process`. If it is the first step of a pipeline, or all steps before it pass
    columns on, it gets the columns of a typed batch, and no dicts are made of its records.

    **Time.** A step that has to act at a certain time returns that time from `next_deadline`. The pipeline
    asks for it after each `process` and `tick`, sleeps until the earliest deadline of its steps, and calls
    `tick`. The records that `tick` makes go through the following steps to the sinks, in order with the
    batches. They are booked under the source `@tick`.

    **Records that are kept.** A step that keeps records counts them as `absorbed` and calls `context.hold`
    in `process`. The source may not forget a frame before its hold has settled. The step returns the holds
    with the records that it makes of the kept ones.

    **State.** The result of `snapshot` is stored from time to time and given to `restore` after a restart.
    It has to be a function of all records that the step has seen so far. Records of a source that numbers
    its frames (`file`) are read again from the last stored state on, so a step with snapshots needs no
    holds.
    """

    offload: Offload | None = None
    counters: ClassVar[Mapping[str, str]] = {}
    """The counters in `context.counters`, each with its meaning in one sentence."""

    gauges: ClassVar[Mapping[str, str]] = {}
    """The gauges in `context.counters`, each with its meaning. Unlike a counter a gauge may fall."""

    reads_columns: bool = False
    """Whether `process_columns` may be called instead of `process`."""

    in_each_process: bool = False
    """Whether several processes (`daemon.processes`) may each have one, because it remembers no record."""

    class Config(Settings):
        """The options of this step."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.process is Step.process and cls.process_one is Step.process_one and ABC not in cls.__bases__:
            raise TypeError(f"the step {cls.__name__} defines neither process_one nor process")

    def __init__(self, config: C, context: "StepContext") -> None:
        self.config = config
        self.context = context
        context.counters.declare(self.counters)
        context.counters.gauge_meanings |= self.gauges

    def process(self, records: list[Record], now: Now) -> Processed:
        """Process the records of a batch. Does not raise `BadData`: a bad record is in `rejects`."""
        done = Processed([])
        for record in records:
            try:
                result = self.process_one(record, now)
            except BadData as bad:
                done.rejects.append(BadRecord(record, bad.reason, bad.detail))
                continue
            if result is DROP:
                done.filtered += 1
            elif isinstance(result, list):
                done.records += result
                done.emitted += max(0, len(result) - 1)
                done.filtered += not result
            elif isinstance(result, dict):
                done.records.append(result)
            else:
                done.rejects.append(
                    BadRecord(record, "no_result", f"the step returned {type(result).__name__}")
                )
        return done

    def process_columns(self, columns: FlatColumns, now: Now) -> Processed:
        """As `process`, with the same result, for a step that `reads_columns`.

        The result has columns for the records that the step passes on, or dicts with their metadata. Rejects
        have dicts. `columns` makes both.
        """
        return self.process(columns.records(), now)

    def conceal(self, record: Record) -> Record:
        """A copy of the record without what this step hides, for those who look at records before the step.

        It changes and counts nothing. Only steps that redact define it.
        """
        return record

    async def process_async(
        self, records: list[Record], now: Now, is_cancelled: Callable[[], bool]
    ) -> Processed:
        """As `process`, for a step that awaits on the event loop.

        If `is_cancelled` returns True, the daemon has cancelled the call. Then the step must let exceptions
        through.
        """
        return self.process(records, now)

    def process_one(self, record: Record, now: Now) -> Record | list[Record] | Dropped:
        """The record, changed or not, or several records, or `DROP`. Raises `BadData` to reject it."""
        done = self.process([record], now)
        for bad in done.rejects:
            raise BadData(bad.reason, bad.detail) from bad.error
        return done.records[0] if len(done.records) == 1 else done.records or DROP

    def tick(self, now: Now) -> Processed:
        """The records that are due at `now`, and their holds.

        Only `records`, `rejects` and `holds` of the result are used; all returned records count as `emitted`.
        A step may return a part of its records and leave its deadline unchanged; then `tick` is called again
        at once. A step without `snapshot` is ticked once more when it is closed, even if it is not due,
        because its kept records would be lost.
        """
        return Processed([])

    def next_deadline(self) -> float | None:
        """When `tick` is due (monotonic seconds, as in `Now.mono_s`); None if nothing is due.

        It must be cheap, and it may be called while `process` runs in a thread.
        """
        return None

    def snapshot(self) -> bytes | None:
        """The state that `restore` needs to go on from here.

        None, or no bytes, if an opened step can go on from here: then `restore` is not called. A step whose
        state may be large defines `snapshot_parts` instead.
        """
        if type(self).snapshot_parts is Step.snapshot_parts:
            return None
        return b"".join(self.snapshot_parts()) or None

    def snapshot_parts(self) -> Iterator[bytes]:
        """The snapshot in parts of a few milliseconds each.

        Between two parts the event loop reads from sockets and answers, but no record comes to the step.
        """
        if state := self.snapshot():
            yield state

    def restore(self, state: bytes, now: Now) -> None:
        """Go on from a snapshot of a step with the same settings. Called once, after `open`.

        The monotonic clock may have restarted since the snapshot. So a step with a timer stores wall-clock
        times or remaining seconds, and computes its deadline from `now` here.

        Raises `ValueError`, `TypeError` or `KeyError` for bytes that are no snapshot of such a step. After
        any exception the state is set aside and the step is opened anew. A class that changes the format of
        its snapshots changes `state_version`.
        """

    state_version: int = 1
    """Version of the snapshot format. A stored snapshot of another version is set aside."""

    @property
    def is_timed(self) -> bool:
        """Whether the step has deadlines."""
        return type(self).next_deadline is not Step.next_deadline

    @property
    def is_stateful(self) -> bool:
        """Whether the step has snapshots."""
        return (
            type(self).snapshot is not Step.snapshot or type(self).snapshot_parts is not Step.snapshot_parts
        )

    def unrepeatable(self) -> str:
        """Why another process that reads the same records could make other results; empty if it cannot.

        For an input that another process may go on with (see `Tenure`), each step with state has an instance
        for each partition. It is given its state there, and the times at which the records were stored in
        the input; it is never ticked.
        """
        if self.is_timed:
            return "it acts at times of its own, and not only when a record comes"
        if self.is_stateful:
            return "" if self.offload is None else "its state is not in the daemon: leave executor out"
        return "" if self.in_each_process else "it remembers records, and has no snapshot to hand over"

    @property
    def carried(self) -> CarriedState | None:
        """The state that a step in worker processes carries from one to the next; None if it has none."""
        return None

    def state_settings(self) -> Mapping[str, Any]:
        """The settings on which the meaning of a stored state depends."""
        return self.config.model_dump(mode="json")

    def code_digest(self) -> str:
        """A digest of the step's code if other code needs another state; otherwise empty."""
        return ""

    def rehearse(self) -> None:
        """Try what `open` needs from the host, and change nothing there. Raises `EnvironmentFault`.

        `streamd check` calls it. A reload calls it in a thread before `open`, which may use what it has read.
        """

    def open(self) -> None:
        """Make the step's resources, once, in the process in which it runs. Raises `EnvironmentFault`.

        The constructor makes nothing large or slow, because `streamd check` constructs every step.
        """

    async def close(self) -> None:
        """Release the resources that `open` made. The step may be opened again."""

    def is_current(self) -> bool:
        """Whether the files that the step was made of, beside its configuration, are unchanged."""
        return True

    def files(self) -> Any:
        """The contents of the files that the step was made of, for a worker process."""
        return None

    @classmethod
    def take_files(cls, files: Any) -> None:
        """Use the result of `files` from another process. Called before the step is made here."""
        del files

    def fields_after(self) -> frozenset[str] | None:
        """The names that a record may have after this step; None if they are unknown."""
        return None


@dataclass(slots=True, frozen=True)
class StepContext:
    """The names, folder, fields and counters that a step can use."""

    name: str
    pipeline: str
    schema: Schema | None
    """The schema of all sources of the pipeline; None if they do not share one."""
    base_dir: Path
    """Folder of the configuration file: base folder of relative paths."""
    fields: frozenset[str] | None = None
    """The names that a record may have before this step (those of the schema, changed by the `fields_after`
    of each earlier step); None if they are unknown."""
    counters: Counters = field(default_factory=Counters, compare=False)
    """The step's counters. They go on if a reload makes a new step."""
    upstream: Upstream = field(default_factory=Upstream, compare=False)
    """The sources of the pipeline: frames that wait in their buffers, and losses."""
    quality: Quality = field(default_factory=Quality, compare=False)
    """The counts of rules, of all pipelines."""

    @property
    def place(self) -> str:
        """The step in the configuration, as an error names it."""
        return f"pipelines.{self.pipeline}: {self.name}"

    def hold(self) -> Hold | None:
        """Called in `process`: hold the frames of the current records; None if no source waits for them.

        The step returns each hold in `Processed.holds` or settles it, exactly once. If `process` raises an
        exception, its holds settle.
        """
        return hold()
