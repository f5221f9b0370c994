"""Calls a user's function with the bytes of a frame, and checks the records that it returns."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamd.core.batch import Record
from streamd.core.contracts import DROP, Frame
from streamd.core.errors import BadData, ConfigError
from streamd.core.failure import failure_of, text_of
from streamd.core.json_rules import RESERVED_KEYS
from streamd.functions.imported import Imported
from streamd.functions.reference import check_params
from streamd.functions.results import BadResult, PlainRecords
from streamd.functions.values import hint_for_result

_CALLED_WITH = "one argument: the bytes of the frame"


class FrameFunction(Imported):
    """A function that is called with bytes, with its params and, if it has such parameters, with
    `peer` (the sender as a text) and `received_at` (seconds since 1970).
    """

    def __init__(self, reference: str, base_dir: Path, params: Mapping[str, Any]) -> None:
        """Import the module and check the signature. Raises `ConfigError` at `function` or `params`."""
        super().__init__(reference, base_dir, "function", "function")
        if fault := _fault(self.found):
            raise ConfigError(f"{self.where} {fault}", ("function",))
        offered = _parameters(self.found).intersection(("peer", "received_at"))
        if given := sorted(offered & params.keys()):
            raise ConfigError(
                f"{self.where} gets {given[0]!r} with each frame: it is no param", ("params", given[0])
            )
        always = dict(params) | dict.fromkeys(offered)
        check_params(self.found, always, self.where, "the bytes themselves", _CALLED_WITH)
        self._params = dict(params)
        self._takes_peer = "peer" in offered
        self._takes_time = "received_at" in offered
        self._plain = PlainRecords()

    def records(self, frame: Frame) -> list[Record]:
        """The records of a frame. The function may return a dict, a list of dicts, None or `streamd.DROP`.

        Raises `BadData` if it raises anything: `rejected` for ValueError and `streamd.Reject`, otherwise
        `exception`; `bad_result` if it returns something else, `reserved` if a key is one of the daemon's.
        """
        more: dict[str, Any] = {}
        if self._takes_peer:
            more["peer"] = str.__str__(frame.peer)
        if self._takes_time:
            more["received_at"] = frame.received_at
        payload = frame.payload if type(frame.payload) is bytes else bytes(frame.payload)
        try:
            made = _separate(self.found(payload, **self._params, **more))
            records = self._plain.of(made)
        except BaseException as error:  # noqa: BLE001 - user's code; the daemon's signals raise nothing
            raise _reject(error, self.root) from None
        for record in records:
            if not RESERVED_KEYS.isdisjoint(record):
                raise BadData("reserved", f"only the daemon sets {min(RESERVED_KEYS & record.keys())!r}")
        return records


def _fault(found: Any) -> str:
    """Why it cannot be called with a frame; empty if it can."""
    if inspect.isclass(found):
        return "is a class: name a function, and let the module make the object that it uses"
    if not callable(found):
        return f"is not a function but {type(found).__name__}"
    for code in (found, found.__call__):
        if inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code):
            return "is async, but a codec cannot wait: use a step of type python"
        if inspect.isgeneratorfunction(code):
            return "is a generator: return a list instead of yielding"
    return ""


def _parameters(found: Any) -> set[str]:
    """The parameters that can be given by name, without the first one."""
    try:
        parameters = list(inspect.signature(found).parameters.values())
    except (ValueError, TypeError):  # a built-in without a signature
        return set()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    first = parameters[:1] if parameters and parameters[0].kind is not inspect.Parameter.KEYWORD_ONLY else []
    return {its.name for its in parameters if its.kind in named and its not in first}


def _separate(result: Any) -> list[Record]:
    """Shallow copies of the records, because the function may return the same dict again.

    Raises `BadResult`.
    """
    if result is None or result is DROP:
        return []
    parts = result if isinstance(result, list) else [result]
    for part in parts:
        if not isinstance(part, dict):
            kind = f"{type(part).__name__} in a list" if part is not result else type(part).__name__
            detail = f"the function returned {kind}, not a dict or a list of dicts{hint_for_result(part)}"
            raise BadResult("bad_result", detail)
    return [dict(dict.items(part)) for part in parts]


def _reject(error: BaseException, folder: Path) -> BadData:
    kind = type(error)  # not `isinstance`: it reads `__class__`, which the user's class may override
    if issubclass(kind, BadResult):
        return BadData("bad_result", vars(error)["detail"])
    if issubclass(kind, ValueError | BadData):
        return BadData("rejected", text_of(error).removeprefix("rejected: "))
    return BadData("exception", failure_of(error, folder).text)
