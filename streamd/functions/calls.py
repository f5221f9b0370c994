"""Calls a user's function with records or batches, and makes rejects of its failures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Processed
from streamd.core.errors import BadData
from streamd.core.failure import failure_of, text_of
from streamd.functions.keyed_state import StateChanges
from streamd.functions.results import BadResult, PlainRecords, batch_made, records_of, settle
from streamd.functions.state_values import BadState


class Calls:
    """Calls one function. It gets copies, so a rejected record is as it came."""

    def __init__(self, function: Callable[[Any], Any], folder: Path, *, takes_batches: bool) -> None:
        """`folder`: places in the text of an exception are relative to it."""
        self._function = function
        self._folder = folder
        self._takes_batches = takes_batches
        self._plain = PlainRecords()

    def process(self, records: list[Record], changes: StateChanges | None = None) -> Processed:
        """The results for the records. `changes` are those of the function's state, if it has one.

        A call that raises, or whose result is refused, changes nothing in the state.
        """
        if self._takes_batches:
            return self._batch(records, changes)
        if changes is not None:
            return self._records_with_state(records, changes)
        done = Processed([])
        function, made, owners = self._function, done.records, []
        for record in records:
            own = record.copy()
            try:
                result = function(own)
                if result is own:
                    made.append(own)
                    owners.append(record)
                else:
                    _add(done, owners, record, records_of(result, own))
            except BaseException as error:  # noqa: BLE001 - user's code; the daemon's signals raise nothing
                done.rejects.append(_reject(record, error, self._folder))
        settle(done, owners)
        return done

    def _batch(self, records: list[Record], changes: StateChanges | None) -> Processed:
        given = [record.copy() for record in records]
        try:
            done = batch_made(given, self._function(given.copy()), records)
            if changes is not None:
                changes.keep()
        except BaseException as error:  # noqa: BLE001 - the same
            return all_rejected(records, error, self._folder)
        return done

    def _records_with_state(self, records: list[Record], changes: StateChanges) -> Processed:
        done = Processed([])
        function, made, owners = self._function, done.records, []
        live, is_plain = changes.live, self._plain.is_plain
        for record in records:
            own = record.copy()
            try:
                result = function(own)
                if result is own and (not live or is_plain(own)):
                    if live:
                        changes.keep()
                    made.append(own)
                    owners.append(record)
                else:
                    self._add_kept(done, owners, record, records_of(result, own), changes)
            except BaseException as error:  # noqa: BLE001 - the same
                changes.undo()
                done.rejects.append(_reject(record, error, self._folder))
        settle(done, owners)
        return done

    async def process_async(
        self, records: list[Record], changes: StateChanges | None, is_cancelled: Callable[[], bool]
    ) -> Processed:
        """As `process`, for an async function. If `is_cancelled`, its exception is let through."""
        if self._takes_batches:
            given = [record.copy() for record in records]
            try:
                done = batch_made(given, await self._function(given.copy()), records)
                if changes is not None:
                    changes.keep()
            except BaseException as error:
                if is_cancelled():
                    raise
                return all_rejected(records, error, self._folder)
            return done
        done = Processed([])
        owners: list[Record] = []
        for record in records:
            own = record.copy()
            try:
                self._add_kept(done, owners, record, records_of(await self._function(own), own), changes)
            except BaseException as error:
                if is_cancelled():
                    raise
                if changes is not None:
                    changes.undo()
                done.rejects.append(_reject(record, error, self._folder))
            if is_cancelled():  # the function caught the cancellation; its results are not used any more
                break
        settle(done, owners)
        return done

    def _add_kept(
        self,
        done: Processed,
        owners: list[Record],
        record: Record,
        made: list[Record],
        changes: StateChanges | None,
    ) -> None:
        """Add the records that one call made of `record`, and keep its changes.

        Raises `BadResult` or `BadState`, and then does neither.
        """
        if changes is not None and changes.live:
            made = self._plain.of(made)
            changes.keep()
        _add(done, owners, record, made)


def _add(done: Processed, owners: list[Record], record: Record, made: list[Record]) -> None:
    """Add the records that one call made of `record`."""
    done.records += made
    owners += [record] * len(made)
    done.emitted += max(0, len(made) - 1)
    done.filtered += not made


def all_rejected(records: list[Record], error: BaseException, folder: Path) -> Processed:
    """Each record as a reject because of one exception."""
    return Processed([], rejects=[_reject(record, error, folder) for record in records])


def _reject(record: Record, error: BaseException, folder: Path) -> BadRecord:
    kind = type(error)  # not `isinstance`: it reads `__class__`, which the user's class may override
    if issubclass(kind, BadResult):
        attributes = vars(error)
        return BadRecord(record, attributes["reason"], attributes["detail"], kind=attributes["kind"])
    if issubclass(kind, BadState):
        return BadRecord(record, "bad_state", text_of(error), kind=f"bad_state: {vars(error)['kind']}")
    if issubclass(kind, BadData):  # reasons are metric labels, so the user's own reason becomes detail
        return BadRecord(record, "rejected", text_of(error).removeprefix("rejected: "))
    failure = failure_of(error, folder)
    return BadRecord(record, "exception", failure.text, error, failure.kind)
