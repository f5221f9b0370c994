import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from streamd.core.batch import Record
from streamd.core.contracts import DROP, BadRecord, Drop, Offload, Processed, Processor, StepContext
from streamd.core.errors import BadData, ConfigError
from streamd.core.failure import failure_of, text_of
from streamd.core.now import Now
from streamd.core.settings import DurationS, Settings

DEFAULT_TIMEOUT_S = 30.0
"""How long a batch may take in a thread, a process or an async function."""


class Python(Processor):
    """Calls a function of yours with each record, or with each batch.

    It is given shallow copies, so a record it changed before it failed is rejected as it came; only what
    it changed inside nested values shows. A dict of its own that it returns is copied likewise, so it may
    return that again. Whatever it raises costs the record (in batch mode, the batch) and nothing else.
    """

    class Config(Settings):
        """What the configuration may say of a python step."""

        function: Annotated[str, StringConstraints(pattern=r"^.+\.py:\w+$|^\w+(\.\w+)*:\w+$")] = Field(
            description="`steps.py:name`, a path relative to this file, or `package.module:name`"
        )
        mode: Literal["record", "batch"] = Field(
            "record",
            description="record: called with one dict, returns a dict, a list of dicts or streamd.DROP;"
            " batch: called with a list of dicts, returns a list of dicts",
        )
        executor: Literal["inline", "thread", "process"] = Field(
            "inline",
            description="where it runs: inline (on the loop, which stands still meanwhile; an async function"
            " is awaited there), thread, or process (one that hangs, dies or grows costs its batch only)",
        )
        concurrency: int = Field(
            1,
            ge=1,
            le=256,
            description="batches that thread, process or an async function has under way; their order stays."
            " Each brings one more worker coroutine",
        )
        timeout: DurationS | None = Field(
            None,
            gt=0,
            description="a batch that takes longer in a thread, a process or an async function is rejected;"
            " default 30s",
        )
        max_batches: int | None = Field(
            None, ge=1, description="a worker process is replaced after so many batches, if it leaks memory"
        )

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        self.function = load(config.function, context.base_dir)
        self.offload = _offload(config, is_async(self.function))
        self._file = context.base_dir / config.function.rpartition(":")[0]
        self._made_of = _module_name(self._file) if self._file.suffix == ".py" else ""

    def is_current(self) -> bool:
        """Whether its file is as it was; a module of a package is what it was until a restart."""
        try:
            return not self._made_of or _module_name(self._file) == self._made_of
        except OSError:
            return False

    def process(self, records: list[Record], now: Now) -> Processed:
        if self.config.mode == "batch":
            given = [record.copy() for record in records]
            try:
                return _batch_made(given, self.function(given.copy()))
            except BaseException as error:  # noqa: BLE001 - anybody's code; our own signals raise nothing
                return Processed(
                    [], rejects=[_reject(record, error, self.context.base_dir) for record in records]
                )
        done = Processed([])
        for record in records:
            own = record.copy()
            try:
                _add(done, own, self.function(own))
            except BaseException as error:  # noqa: BLE001 - the same
                done.rejects.append(_reject(record, error, self.context.base_dir))
        return done

    async def process_async(
        self, records: list[Record], now: Now, is_cancelled: Callable[[], bool]
    ) -> Processed:
        if self.config.mode == "batch":
            given = [record.copy() for record in records]
            try:
                return _batch_made(given, await self.function(given.copy()))
            except BaseException as error:
                if is_cancelled():
                    raise
                return Processed(
                    [], rejects=[_reject(record, error, self.context.base_dir) for record in records]
                )
        done = Processed([])
        for record in records:
            own = record.copy()
            try:
                _add(done, own, await self.function(own))
            except BaseException as error:
                if is_cancelled():
                    raise
                done.rejects.append(_reject(record, error, self.context.base_dir))
            if is_cancelled():  # the function went on all the same: nobody waits for the rest any more
                break
        return done

    def process_one(self, record: Record, now: Now) -> Record | list[Record] | Drop:
        done = self.process([record], now)
        for bad in done.rejects:
            raise BadData(bad.reason, bad.detail) from bad.error
        if done.filtered:
            return DROP
        return done.records if done.emitted else done.records[0]


def _add(done: Processed, given: Record, result: Any) -> None:
    """Add what one call made of its record. Raises `_BadResult`."""
    if result is DROP:
        done.filtered += 1
    elif isinstance(result, list):
        made = _all_owned(result, {id(given)})
        done.records += made
        done.emitted += max(0, len(made) - 1)
        done.filtered += not made
    else:
        done.records.append(_checked(result, result is given))


def _batch_made(given: list[Record], result: Any) -> Processed:
    """What one call made of a batch. Raises `_BadResult`."""
    made = _all_owned(result, set(map(id, given)))
    more = len(made) - len(given)
    return Processed(made, filtered=max(0, -more), emitted=max(0, more))


class _BadResult(Exception):  # noqa: N818 - a verdict on what a function returned
    """A function returned what is no record."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def _unusable(result: object, wanted: str) -> _BadResult:
    if result is None:
        return _BadResult("no_result", "the function returned None: was `return` forgotten?")
    return _BadResult("bad_result", f"the function returned {type(result).__name__}, not {wanted}")


def _checked(result: Any, is_ours: bool) -> Record:
    """The record a function returned; a copy, unless it is the one made for this call: the function may
    return a dict of its own again and change it, while what it returned before still waits.
    """
    if not isinstance(result, dict):
        raise _unusable(result, "a dict")
    record = result if is_ours else dict(result)
    try:
        "".join(record)  # the cheapest way to see that every key is text
    except TypeError:
        raise _BadResult("bad_result", "a key of the record the function returned is not text") from None
    return record


def _all_owned(result: Any, ours: set[int]) -> list[Record]:
    """The records of a list, no two the same object; `ours` are the ids of the dicts made for this call."""
    if not isinstance(result, list):
        raise _unusable(result, "a list of dicts")
    made = []
    for part in result:
        made.append(_checked(part, id(part) in ours))
        ours.discard(id(part))
    return made


def _reject(record: Record, error: BaseException, folder: Path) -> BadRecord:
    kind = type(error)  # what `isinstance` asks, the class itself may answer with anybody's code
    if issubclass(kind, _BadResult):
        detail = text_of(error)
        reason = vars(error)["reason"]
        return BadRecord(record, reason, detail, kind=f"{reason}: {detail}")
    if issubclass(kind, BadData):  # a reason of the user's own would be a metric label of the user's own
        return BadRecord(record, "rejected", text_of(error).removeprefix("rejected: "))
    failure = failure_of(error, folder)
    return BadRecord(record, "exception", failure.text, error, failure.kind)


def load(reference: str, base_dir: Path) -> Callable[[Any], Any]:
    """The function that `file.py:name` or `package.module:name` means. Raises `ConfigError`.

    A file becomes a module of its own, so two files of one name do not collide; a file named twice is run
    once. Its folder (for a package, `base_dir`) goes to the end of `sys.path`: what stands beside it can be
    imported, and hides nothing that is installed.
    """
    place, _, name = reference.rpartition(":")
    path = base_dir / place
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what is printed there is no part of anybody's output
            module = _run_file(path) if place.endswith(".py") else _import(place, base_dir)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ConfigError(f"{_place(error)}{type(error).__name__}: {text}") from error
    function = getattr(module, name, None)
    if function is None:
        close = difflib.get_close_matches(name, vars(module), 1)
        hint = f": did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"there is no function {name!r} in {module.__file__}{hint}")
    fault = _fault(function)
    if fault:
        code = getattr(function, "__code__", None)
        where = f"{code.co_filename}:{code.co_firstlineno}" if code else module.__file__
        raise ConfigError(f"{where}: {name!r} {fault}")
    return function  # type: ignore[no-any-return]  # `_fault` has seen that it is callable


def is_async(function: Any) -> bool:
    """Whether calling it gives something to await."""
    return any(inspect.iscoroutinefunction(code) for code in (function, function.__call__))


def _offload(config: Python.Config, awaited: bool) -> Offload | None:
    """How the step is run, where not inline. Raises `ConfigError` for options that would do nothing."""
    if config.max_batches is not None and config.executor != "process":
        raise ConfigError('max_batches: only executor = "process" has worker processes to replace')
    timeout_s = DEFAULT_TIMEOUT_S if config.timeout is None else config.timeout
    if awaited:
        if config.executor != "inline":
            raise ConfigError(
                f'executor: an async function runs on the loop: write def for "{config.executor}"'
            )
        return Offload("loop", config.concurrency, timeout_s)
    if config.executor == "inline":
        for key, is_set in (("concurrency", config.concurrency > 1), ("timeout", config.timeout is not None)):
            if is_set:
                raise ConfigError(
                    f'{key}: a function that runs inline cannot be left waiting: set executor = "thread" or'
                    ' "process", or write async def'
                )
        return None
    return Offload(config.executor, config.concurrency, timeout_s, config.max_batches)


def _fault(function: Any) -> str:
    """What speaks against calling it with one argument; empty where nothing does."""
    if not callable(function) or inspect.isclass(function):
        return f"is not a function but {'a class' if inspect.isclass(function) else type(function).__name__}"
    for code in (function, function.__call__):
        if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
            return "is a generator: return a list instead of yielding"
    try:
        signature = inspect.signature(function)
    except ValueError:  # a built-in that does not say what it takes
        return ""
    try:
        signature.bind(None)
    except TypeError:
        return f"takes {signature}, but is called with one argument: the record, or in batch mode their list"
    return ""


def _place(error: BaseException) -> str:
    """`file:line: ` of the user's code that an error comes from, where that is known."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if frame.filename != __file__ and frame.filename[0] != "<"]
    return f"{theirs[-1].filename}:{theirs[-1].lineno}: " if theirs else ""


def _module_name(path: Path) -> str:
    """Made of place and content: a file that has changed since is another module."""
    path = path.resolve()
    digest = hashlib.sha256(bytes(path) + b"\0" + path.read_bytes()).hexdigest()[:16]
    return f"streamd_step_{path.stem}_{digest}"


def _run_file(path: Path) -> ModuleType:
    path = path.resolve()
    name = _module_name(path)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    _offer(path.parent)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    try:
        # Not by the loader: its bytecode cache takes a file changed within a second for the old one.
        exec(compile(path.read_bytes(), path, "exec"), vars(module))  # noqa: S102 - the user's own code is what is asked for
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import(name: str, base_dir: Path) -> ModuleType:
    _offer(base_dir.resolve())
    return importlib.import_module(name)


def _offer(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
