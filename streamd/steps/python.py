import contextlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from streamd.core.batch import Record
from streamd.core.contracts import DROP, BadRecord, Offload, Processed, Step, StepContext
from streamd.core.errors import BadData, ConfigError, EnvironmentFault
from streamd.core.failure import failure_of, text_of
from streamd.core.hold import Hold
from streamd.core.now import Now
from streamd.core.settings import DurationS, Settings
from streamd.functions.files import Sources
from streamd.functions.modules import use_sources
from streamd.functions.reference import Named
from streamd.functions.results import BadResult, batch_made, records_of, settle

DEFAULT_TIMEOUT_S = 30.0
"""Longest time for a batch in a thread, a process or an async function."""


class Python(Step["Python.Config"]):
    """Calls your own function or object with each record or each batch.

    The function gets a shallow copy of the record. If it fails after changing the record, the record is
    rejected unchanged, except for changes inside nested values. A dict that the function returns is copied
    too, so the function may return the same dict again. An exception rejects the record (in batch mode, the
    batch) and nothing else.

    If `function` names a class, the step makes one object of it with `params`, in the process that calls it.
    """

    class Config(Settings):
        """The function and how it is run."""

        function: Annotated[str, StringConstraints(pattern=r"^.+\.py:\w+$|^\w+(\.\w+)*:\w+$")] = Field(
            description="a function or class: `steps.py:name`, with a path relative to the "
            "configuration file, or `package.module:name`"
        )
        params: dict[str, Any] = Field(
            {},
            description="keyword arguments: a function gets them at each call; a class gets them once, "
            "when its object is made",
        )
        mode: Literal["record", "batch"] = Field(
            "record",
            description="record: called with one dict, returns a dict, a list of dicts or streamd.DROP;"
            " batch: called with a list of dicts, returns a list of dicts",
        )
        executor: Literal["inline", "thread", "process"] = Field(
            "inline",
            description="where the function runs: inline (in the daemon's event loop, which does nothing "
            "else meanwhile; an async function is awaited there), thread, or process (if the "
            "process hangs, dies or grows, only its batch is lost)",
        )
        concurrency: int = Field(
            1,
            ge=1,
            le=256,
            description="number of batches processed at the same time in threads, processes or an async "
            "function; their order is kept",
        )
        timeout: DurationS | None = Field(
            None,
            gt=0,
            description="longest time for a batch in a thread, a process or an async function; after "
            "that time the batch is rejected. Default: 30s",
        )
        max_batches: int | None = Field(
            None,
            ge=1,
            description="number of batches after which a worker process is replaced, for code that "
            "leaks memory",
        )

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        self._named = Named(config.function, context.base_dir, config.params)
        self._named.check_clock_and_state()
        self.state_version = self._named.state_version
        self._holds: list[Hold] = []
        """The holds on frames of records that the object keeps until its next `tick`."""
        self.offload = _offload(config, awaited=self._named.is_async)
        self._function: Callable[[Any], Any] | None = None if self._named.is_class else self._named.make()

    def open(self) -> None:
        """Make the object of a class. Raises `EnvironmentFault`, caused by the constructor's exception."""
        if self._function is None:
            self._function = self._opened()

    async def close(self) -> None:
        """Call the object's `close` if it has one. Raises any exception of that method."""
        if not self._named.is_class or self._function is None:
            return
        close, self._function = getattr(self._function, "close", None), None
        if callable(close):
            done = close()
            if inspect.isawaitable(done):
                await done

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
        """Whether the class has `snapshot`."""
        return self._named.has("snapshot")

    def next_deadline(self) -> float | None:
        if self._function is None:
            return None
        deadline: float | None = self._object.next_deadline()
        return deadline

    def tick(self, now: Now) -> Processed:
        """The records that the object's `tick` returns. Raises any exception of that method."""
        if self._function is None:
            return Processed([])
        made = self._object.tick(now)
        done = batch_made([], [made] if isinstance(made, dict) else [] if made in (None, DROP) else made)
        if done.records:
            done.holds, self._holds = self._holds, []
        return done

    def snapshot(self) -> bytes | None:
        state: bytes | None = None if self._function is None else self._object.snapshot()
        return state

    def restore(self, state: bytes, now: Now) -> None:
        del now  # the user's class reads the clock itself
        self._object.restore(state)

    @property
    def _object(self) -> Any:
        return self._function

    def _kept(self, done: Processed) -> Processed:
        """Count the records that a timed object did not return as absorbed: it keeps them until `tick`."""
        if done.filtered and self.is_timed:
            done.absorbed, done.filtered = done.filtered, 0
            if not self.is_stateful and (hold := self.context.hold()) is not None:
                self._holds.append(hold)
        return done

    def process(self, records: list[Record], now: Now) -> Processed:
        try:
            function = self._function or self._opened()
        except EnvironmentFault as fault:
            return self._all_rejected(records, fault.__cause__ or fault)
        if self.config.mode == "batch":
            given = [record.copy() for record in records]
            try:
                return self._kept(batch_made(given, function(given.copy())))
            except BaseException as error:  # noqa: BLE001 - user's code; the daemon's signals raise nothing
                return self._all_rejected(records, error)
        done = Processed([])
        made, owners = done.records, []
        for record in records:
            own = record.copy()
            try:
                result = function(own)
                if result is own:
                    made.append(own)
                    owners.append(record)
                else:
                    _add(done, owners, record, records_of(result, own))
            except BaseException as error:  # noqa: BLE001 - the same
                done.rejects.append(self._reject(record, error))
        settle(done, owners)
        return self._kept(done)

    async def process_async(
        self, records: list[Record], now: Now, is_cancelled: Callable[[], bool]
    ) -> Processed:
        try:
            function = self._function or self._opened()
        except EnvironmentFault as fault:
            return self._all_rejected(records, fault.__cause__ or fault)
        if self.config.mode == "batch":
            given = [record.copy() for record in records]
            try:
                return self._kept(batch_made(given, await function(given.copy())))
            except BaseException as error:
                if is_cancelled():
                    raise
                return self._all_rejected(records, error)
        done = Processed([])
        owners: list[Record] = []
        for record in records:
            own = record.copy()
            try:
                _add(done, owners, record, records_of(await function(own), own))
            except BaseException as error:
                if is_cancelled():
                    raise
                done.rejects.append(self._reject(record, error))
            if is_cancelled():  # the function caught the cancellation; its results are not used any more
                break
        settle(done, owners)
        return self._kept(done)

    def _opened(self) -> Callable[[Any], Any]:
        try:
            # Standard output may carry the records of a sink or of `streamd try`.
            with contextlib.redirect_stdout(sys.stderr):
                self._function = self._named.make()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = failure_of(error, self.context.base_dir).text
            raise EnvironmentFault(
                f"pipelines.{self.context.pipeline}: {self.context.name}: {self.config.function}: {text}"
            ) from error
        return self._function

    def _all_rejected(self, records: list[Record], error: BaseException) -> Processed:
        return Processed([], rejects=[self._reject(record, error) for record in records])

    def _reject(self, record: Record, error: BaseException) -> BadRecord:
        kind = type(error)  # not `isinstance`: it reads `__class__`, which the user's class may override
        if issubclass(kind, BadResult):
            attributes = vars(error)
            return BadRecord(record, attributes["reason"], attributes["detail"], kind=attributes["kind"])
        if issubclass(kind, BadData):  # reasons are metric labels, so the user's own reason becomes detail
            return BadRecord(record, "rejected", text_of(error).removeprefix("rejected: "))
        failure = failure_of(error, self.context.base_dir)
        return BadRecord(record, "exception", failure.text, error, failure.kind)


def _add(done: Processed, owners: list[Record], record: Record, made: list[Record]) -> None:
    """Add the records that one call made of `record`."""
    done.records += made
    owners += [record] * len(made)
    done.emitted += max(0, len(made) - 1)
    done.filtered += not made


def _offload(config: Python.Config, *, awaited: bool) -> Offload | None:
    """The settings of the executor; None for inline. Raises `ConfigError` for an option without effect."""
    if config.max_batches is not None and config.executor != "process":
        raise ConfigError('max_batches: only executor = "process" has worker processes to replace')
    timeout_s = DEFAULT_TIMEOUT_S if config.timeout is None else config.timeout
    if awaited:
        if config.executor != "inline":
            raise ConfigError(
                f'executor: an async function runs in the event loop; for "{config.executor}" write def'
            )
        return Offload("loop", config.concurrency, timeout_s)
    if config.executor == "inline":
        for key, is_set in (("concurrency", config.concurrency > 1), ("timeout", config.timeout is not None)):
            if is_set:
                raise ConfigError(
                    f'{key}: has no effect on a function that runs inline; set executor = "thread" or'
                    ' "process", or write async def'
                )
        return None
    return Offload(config.executor, config.concurrency, timeout_s, config.max_batches)
