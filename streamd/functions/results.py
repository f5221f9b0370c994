"""Checks the result of a user's function: separate records with plain values."""

from typing import Any

from streamd.core.batch import Record
from streamd.core.contracts import DROP, BadRecord, Processed
from streamd.core.errors import BadData, Reject
from streamd.core.failure import text_of
from streamd.functions.values import SCALARS, BadValue, all_plain, hint_for_result, plain_record


class BadResult(Exception):  # noqa: N818 - a verdict on what a function returned
    """A function returned something else than records. `kind` groups similar results for the log."""

    def __init__(self, reason: str, detail: str, kind: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.kind = f"{reason}: {kind or detail}"


def records_of(result: Any, given: Record) -> list[Record]:
    """The records that one call made of `given`; an empty list for `DROP`. Raises `BadResult`."""
    if result is DROP:
        return []
    if isinstance(result, list):
        return separate_records(result, {id(given)})
    if isinstance(result, dict):
        return [result if result is given else _copy(result)]
    raise _unusable(result, "a dict")


def separate_records(result: Any, given: set[int]) -> list[Record]:
    """The records of a list as separate objects. `given` are the ids of the dicts made for this call.

    Other dicts are copied, because the function may change a dict and return it again while the earlier
    record still waits in a buffer. Raises `BadResult`.
    """
    if not isinstance(result, list):
        raise _unusable(result, "a list of dicts")
    ids = set(map(id, result))
    if len(ids) == len(result) and given.issuperset(ids):
        return list(result)
    made: list[Record] = []
    for part in result:
        if not isinstance(part, dict):
            raise _unusable(part, "a dict")
        made.append(part if id(part) in given else _copy(part))
        given.discard(id(part))
    return made


def batch_made(given: list[Record], result: Any, owners: list[Record]) -> Processed:
    """The result of one call for a batch. Raises `BadResult`.

    `given` are the dicts made for this call; `owners` has for each of them the record of which it is a copy.
    """
    rejects: list[BadRecord] = []
    if type(result) is list and any(issubclass(kind, Reject) for kind in set(map(type, result))):
        result, rejects = _without_rejects(result, given, owners)
    made = separate_records(result, set(map(id, given)))
    if not all_plain(made):
        made = [_plain(record, f"record {place} of the list: ") for place, record in enumerate(made)]
    more = len(made) + len(rejects) - len(given)
    return Processed(made, filtered=max(0, -more), emitted=max(0, more), rejects=rejects)


def _without_rejects(
    result: list[Any], given: list[Record], owners: list[Record]
) -> tuple[list[Any], list[BadRecord]]:
    """The list without its instances of `Reject`, and the input records that these reject."""
    places = {id(record): place for place, record in enumerate(given)}
    kept = [part for part in result if not issubclass(type(part), Reject)]
    returned = set(map(id, kept))
    rejected: set[int] = set()
    rejects: list[BadRecord] = []
    for part in result:
        if not issubclass(type(part), Reject):
            continue
        text = text_of(part).removeprefix("rejected: ")
        record = getattr(part, "record", None)
        place = places.get(id(record))
        if record is None:
            why = f"Reject({text!r}) in a list needs its record: write Reject({text!r}, record)"
        elif place is None:
            why = f"the record of Reject({text!r}) is no dict of the batch: give the dict itself, not a copy"
        elif place in rejected:
            why = f"the record of Reject({text!r}) is rejected twice"
        elif id(record) in returned:
            why = f"the record of Reject({text!r}) is returned too"
        else:
            rejected.add(place)
            rejects.append(BadRecord(owners[place], "rejected", text))
            continue
        raise BadResult("bad_result", why, "a Reject in a list")
    return kept, rejects


def settle(done: Processed, owners: list[Record]) -> None:
    """Make all values of `done.records` plain; `owners` has for each record the input record.

    If a value cannot be made plain, the input record is rejected and all records made of it are removed.
    """
    done.owners = owners
    if all_plain(done.records):
        return
    made, done.records, done.owners = done.records, [], []
    place = 0
    while place < len(made):
        owner = owners[place]
        end = place + 1
        while end < len(made) and owners[end] is owner:
            end += 1
        try:
            done.records += [_plain(record) for record in made[place:end]]
            done.owners += owners[place:end]
        except BadResult as bad:
            done.emitted -= end - place - 1
            done.rejects.append(BadRecord(owner, bad.reason, bad.detail, kind=bad.kind))
        place = end


class PlainRecords:
    """Makes the values of single records plain. If their keys recur, that costs a fifth of `all_plain`."""

    def __init__(self) -> None:
        self._keys: set[Any] = set()
        """Keys of earlier records, all of them plain."""

    def is_plain(self, record: Record) -> bool:
        """Whether it is known that all keys and values of the record are plain. If not, `of` finds it out."""
        return self._keys.issuperset(record) and SCALARS.issuperset(map(type, record.values()))

    def of(self, records: list[Record]) -> list[Record]:
        """The records with plain values. Raises `BadResult`."""
        if all(map(self.is_plain, records)):
            return records
        if not all_plain(records):
            return list(map(_plain, records))
        if len(self._keys) < _MANY:
            self._keys.update(*records)
        return records


_MANY = 1000


def _plain(record: Record, before: str = "") -> Record:
    try:
        return plain_record(record)
    except BadValue as bad:
        raise BadResult("bad_result", f"{before}{bad}", bad.why) from None


def _copy(record: Record) -> Record:
    return dict(dict.items(record))


def _unusable(result: object, wanted: str) -> BadResult:
    if result is None:
        return BadResult("no_result", "the function returned None: was `return` forgotten?")
    name = type(result).__name__
    hint = ": raise it" if isinstance(result, BadData) else hint_for_result(result)
    return BadResult("bad_result", f"the function returned {name}, not {wanted}{hint}")
