"""The contract of steps."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from streamd.core.batch import Record
from streamd.core.counters import Counters
from streamd.core.errors import BadData
from streamd.core.hold import Hold, hold
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings

C = TypeVar("C", bound=Settings)
"""The settings of a kind of step."""


class Drop:
    """The type of `DROP`."""

    def __repr__(self) -> str:
        return "streamd.DROP"


DROP = Drop()
"""What a step returns to filter a record out."""


@dataclass(slots=True)
class BadRecord:
    """A record a step could not use; `error` is set where the step's own code failed.

    `kind` names what such rejects have in common (`ValueError (steps.py:12)`): the first of each kind is
    logged. Empty: none is, because rejecting is what the step is for.
    """

    record: Any
    reason: str
    detail: str = ""
    error: BaseException | None = None
    kind: str = ""


@dataclass(slots=True)
class Processed:
    """What a step made of records: len(in) + emitted = len(records) + filtered + absorbed + len(rejects).

    `absorbed` records stay in the step, which makes others of them later. `holds` are those of the records
    that are part of `records` now: they settle with the fate of these. Without records they settle as
    filtered.
    """

    records: list[Record]
    filtered: int = 0
    absorbed: int = 0
    emitted: int = 0
    rejects: list[BadRecord] = field(default_factory=list)
    holds: Sequence[Hold] = ()


@dataclass(slots=True, frozen=True)
class Offload:
    """How a step is run that must not hold up the loop.

    `loop` awaits `process_async` on the loop; `thread` calls `process` in threads; `process` makes the
    step anew in worker processes, of its class, config, name and folder, and calls `process` there.
    """

    executor: Literal["loop", "thread", "process"]
    concurrency: int
    """Most batches under way."""
    timeout_s: float
    """What takes longer costs its batch."""
    max_batches: int | None = None
    """After so many a worker process is replaced."""


class Step(ABC, Generic[C]):
    """One step's logic; one instance in each pipeline that names it. Pure logic, always sees dicts.

    A new one is a class `class Count(Step["Count.Config"])` with a `Config` and a `process_one`.

    Where `offload` is set, batches of it may be under way at the same time; they go on in order. Nothing
    else of a step is called meanwhile, `next_deadline` excepted.

    **Time.** A step that has something to do at a time gives that as its `next_deadline`. The pipeline asks
    for it after each `process` and `tick`, sleeps until the earliest deadline of its steps, and calls `tick`.
    What that makes goes through the steps behind it and to the sinks, in order with the batches, and is
    booked under the source `@tick`.

    **Records that are kept.** A step that keeps records counts them as `absorbed` and calls `context.hold`
    in `process`: the source may not forget a frame before the hold has settled. It returns the holds with
    the records that it makes of them.

    **State.** What `snapshot` gives is stored from time to time, and given to `restore` after a restart; it
    has to be a function of the records that the step has seen so far, whether they went on or not. Records
    of a source that numbers its frames (`file`) are read again from the last stored state on, so a step
    with a snapshot needs no holds.
    """

    offload: Offload | None = None
    counters: ClassVar[Mapping[str, str]] = {}
    """The names it counts with `context.counters`, each with its meaning in one sentence."""

    class Config(Settings):
        """What the configuration may say of this step."""

    def __init__(self, config: C, context: "StepContext") -> None:
        self.config = config
        self.context = context
        context.counters.declare(self.counters)

    def process(self, records: list[Record], now: Now) -> Processed:
        """All records of a batch. Raises `BadData` for none of them: a bad record is in `rejects`."""
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

    async def process_async(
        self, records: list[Record], now: Now, is_cancelled: Callable[[], bool]
    ) -> Processed:
        """The same for a step that awaits something on the loop. `is_cancelled` says whether the daemon
        has cancelled the call: an exception that the step raises then must be let through.
        """
        return self.process(records, now)

    @abstractmethod
    def process_one(self, record: Record, now: Now) -> Record | list[Record] | Drop:
        """The record, changed or not; several; or `DROP`. Raises `BadData` to reject it."""

    def tick(self, now: Now) -> Processed:
        """What is due at `now`: records to hand on, and the holds that belong to them.

        Of the numbers only `records`, `rejects` and `holds` matter here: all that it returns is `emitted`.
        It may hand on a part, and leave the deadline as it is: it is called again at once. A step without
        `snapshot` is called a last time when it is closed, due or not, since what it keeps would be lost.
        """
        return Processed([])

    def next_deadline(self) -> float | None:
        """When `tick` is due (monotonic seconds, as in `Now.mono_s`); None while nothing is.

        It must be cheap, and may be called while `process` runs in a thread.
        """
        return None

    def snapshot(self) -> bytes | None:
        """What `restore` needs to go on from here; None where nothing is worth keeping."""
        return None

    def restore(self, state: bytes) -> None:
        """Go on from a snapshot of a step with the same settings; called once, after `open`.

        What it raises sets the state aside, and the step is opened anew. A class whose snapshots have changed
        says so by another `state_version`.
        """

    state_version: int = 1
    """The format of its snapshots. A stored one of another version is set aside."""

    @property
    def is_timed(self) -> bool:
        """Whether it is to be asked for deadlines."""
        return type(self).next_deadline is not Step.next_deadline

    @property
    def is_stateful(self) -> bool:
        """Whether it is to be asked for snapshots."""
        return type(self).snapshot is not Step.snapshot

    def code_digest(self) -> str:
        """Of its code, where other code means another state; empty where it does not matter."""
        return ""

    def open(self) -> None:
        """Make what it needs, once, in the process where it runs. Raises `EnvironmentFault`.

        Its constructor makes nothing that is large or slow: checking a configuration constructs every step.
        """

    async def close(self) -> None:
        """Give back what `open` has made. It may be opened again."""

    def is_current(self) -> bool:
        """Whether what it was made of beside its configuration (files) has not changed since."""
        return True

    def files(self) -> Any:
        """What a worker process takes for the files the step was made of, whatever they have become since."""
        return None

    @classmethod
    def take_files(cls, files: Any) -> None:
        """Take what `files` gave in another process, before the step is made here."""
        del files

    def fields_after(self) -> frozenset[str] | None:
        """The names a record may have behind this step; None where that cannot be known."""
        return None


@dataclass(slots=True, frozen=True)
class StepContext:
    """What a step may know of its place. `schema` is set where all sources of the pipeline share one."""

    name: str
    pipeline: str
    schema: Schema | None
    base_dir: Path
    """Folder of the file that configured it: relative paths start here."""
    fields: frozenset[str] | None = None
    """The names a record may have here (the schema's, then what each step's `fields_after` says); None where
    that is not known."""
    counters: Counters = field(default_factory=Counters, compare=False)
    """What the step counts; they go on where a reload makes the step anew."""

    def hold(self) -> Hold | None:
        """In `process`: keep the frames of the records it was given; None where nobody waits for their fate.

        Each hold is returned in `Processed.holds` or settled, once. If `process` raises, its holds settle.
        """
        return hold()
