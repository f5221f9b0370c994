"""The options of a function in the configuration, and what follows from them for its executor."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from streamd.core.contracts import Offload, StepContext
from streamd.core.errors import ConfigError
from streamd.core.record_key import KeyTexts, RecordKey
from streamd.core.settings import DurationS, Settings, SizeBytes
from streamd.functions.reference import Named

MIN_MEMORY_BYTES = 32 * 10**6
"""Least memory of a worker process: the interpreter and streamd need about 23 MB."""
DEFAULT_TIMEOUT_S = 30.0
"""Longest time for a batch in a thread, a process or an async function."""

HOW_IT_RUNS = frozenset(
    {"executor", "concurrency", "timeout", "max_batches", "memory_limit", "on_lost", "partition_by"}
)
"""Options that change where a function runs, and not what its state means."""


FunctionReference = Annotated[str, StringConstraints(pattern=r"^.+\.py:\w+$|^\w+(\.\w+)*:\w+$")]
"""`file.py:name` or `package.module:name`."""


class FunctionOptions(Settings):
    """The function and how it is run."""

    function: FunctionReference = Field(
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
        description="number of batches after which a worker process is replaced, for code that leaks memory",
    )
    memory_limit: SizeBytes | None = Field(
        None,
        ge=MIN_MEMORY_BYTES,
        description="memory that a worker process may use: an allocation beyond it raises MemoryError, "
        "and a process that has nearly reached it is replaced between two batches",
    )
    partition_by: KeyTexts | None = Field(
        None,
        min_length=1,
        description="fields that decide which worker process gets a record: all records with the same "
        "values come to the same process, in their order",
    )
    on_lost: Literal["search", "reject"] = Field(
        "search",
        description="what happens to a batch that hangs, kills its worker process or exceeds its "
        "memory_limit: search (its records are processed again in parts, until the record at fault is "
        "found and rejected) or reject (all its records are rejected)",
    )

    def offload(self, context: StepContext, named: Named) -> Offload | None:
        """The settings of the executor; None for inline.

        Raises `ConfigError` for an option without effect.
        """
        if self.executor != "process":
            for key, is_set, why in (
                ("max_batches", self.max_batches is not None, "has worker processes to replace"),
                ("memory_limit", self.memory_limit is not None, "has a memory of its own to limit"),
                ("on_lost", "on_lost" in self.model_fields_set, "can lose a batch with its process"),
                ("partition_by", self.partition_by is not None, "has processes to divide the keys among"),
            ):
                if is_set:
                    raise ConfigError(f'{key}: only executor = "process" {why}')
        timeout_s = DEFAULT_TIMEOUT_S if self.timeout is None else self.timeout
        if named.is_async:
            if self.executor != "inline":
                raise ConfigError(
                    f'executor: an async function runs in the event loop; for "{self.executor}" write def'
                )
            return Offload("loop", self.concurrency, timeout_s)
        if self.executor == "inline":
            for key, is_set in (("concurrency", self.concurrency > 1), ("timeout", self.timeout is not None)):
                if is_set:
                    raise ConfigError(
                        f'{key}: has no effect on a function that runs inline; set executor = "thread" or'
                        ' "process", or write async def'
                    )
            return None
        by = self.partition_by
        if self.executor == "process":
            self._check_state_of_processes(named)
        return Offload(
            self.executor,
            self.concurrency,
            timeout_s,
            self.max_batches,
            self.memory_limit,
            each=self.mode == "record" and not named.takes_batches,
            searches=self.on_lost == "search",
            partition=None if by is None else RecordKey(by, context.fields, option="partition_by"),
            carries_state=self.executor == "process",
        )

    def _check_state_of_processes(self, named: Named) -> None:
        """Raises `ConfigError` for a class whose state or clock cannot outlive its process."""
        name = named.found.__name__ if named.is_class else ""
        if named.has("snapshot"):
            raise ConfigError(
                f"executor: snapshot and restore of class {name} do not work in worker processes, which are"
                " replaced when they hang or die: keep the data in context.state, or set"
                ' executor = "thread"'
            )
        if named.has("tick") and not named.has("open"):
            raise ConfigError(
                f"executor: in worker processes class {name} needs open(self, context) beside tick: what it"
                " keeps belongs into context.state, because a process may be replaced"
            )
        if named.has("tick") and self.concurrency > 1 and self.partition_by is None:
            raise ConfigError(
                f"concurrency: the processes of class {name} would each have a clock of their own for any"
                " record: set partition_by, so that each key has its process, or concurrency = 1"
            )
