from typing import Any, cast

import pytest

from streamd.core.batch import Record
from streamd.core.errors import Reject
from streamd.functions import results
from streamd.functions.results import BadResult, PlainRecords, batch_made


class OwnReject(Reject):
    pass


def made(result: Any, given: list[Record], owners: list[Record]) -> Any:
    done = batch_made(given, result, owners)
    assert len(given) + done.emitted == len(done.records) + done.filtered + len(done.rejects)
    assert min(done.emitted, done.filtered) >= 0
    return done


@pytest.fixture
def owners() -> list[Record]:
    return [{"n": n} for n in range(4)]


@pytest.fixture
def given(owners: list[Record]) -> list[Record]:
    return [record.copy() for record in owners]


def test_a_reject_in_the_list_rejects_its_record_as_it_came(
    given: list[Record], owners: list[Record]
) -> None:
    given[1]["changed"] = True
    done = made([given[0], Reject("odd", given[1]), given[2], OwnReject("last", given[3])], given, owners)
    assert done.records == [{"n": 0}, {"n": 2}]
    assert [(bad.record, bad.reason, bad.detail, bad.error) for bad in done.rejects] == [
        ({"n": 1}, "rejected", "odd", None),
        ({"n": 3}, "rejected", "last", None),
    ]
    assert done.rejects[0].record is owners[1]


@pytest.mark.parametrize(
    ("kept", "filtered", "emitted"),
    [([], 3, 0), ([0], 2, 0), ([0, 2, 3], 0, 0), ([0, 2, 3, -1, -1], 0, 2)],
)
def test_beside_rejects_records_may_be_missing_or_additional(
    given: list[Record], owners: list[Record], kept: list[int], filtered: int, emitted: int
) -> None:
    result: list[Any] = [given[n] if n >= 0 else {"new": True} for n in kept]
    done = made([Reject("one", given[1]), *result], given, owners)
    assert (len(done.records), done.filtered, done.emitted) == (len(kept), filtered, emitted)
    assert [bad.record for bad in done.rejects] == [{"n": 1}]


def test_all_records_may_be_rejected(given: list[Record], owners: list[Record]) -> None:
    done = made([Reject(str(n), record) for n, record in enumerate(given)], given, owners)
    assert (done.records, [bad.detail for bad in done.rejects]) == ([], ["0", "1", "2", "3"])


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (
            lambda _: [Reject("why")],
            r"Reject\('why'\) in a list needs its record: write Reject\('why', record\)",
        ),
        (lambda given: [Reject("why", dict(given[0]))], "is no dict of the batch: give the dict itself"),
        (lambda _: [Reject("why", cast("Any", "text"))], "is no dict of the batch"),
        (lambda given: [Reject("a", given[0]), Reject("b", given[0])], "is rejected twice"),
        (lambda given: [given[0], Reject("a", given[0])], "is returned too"),
        (lambda given: [Reject("a", given[0]), 5], "the function returned int, not a dict"),
        (lambda given: Reject("a", given[0]), "the function returned Reject, not a list of dicts: raise it"),
    ],
)
def test_a_list_that_contradicts_itself_is_refused(
    given: list[Record], owners: list[Record], result: Any, why: str
) -> None:
    with pytest.raises(BadResult, match=why):
        made(result(given), given, owners)


@pytest.mark.parametrize(
    "record",
    [{"a": 1}, {}, {"a": [1, {"b": None}]}, {"naïve": 1}, {"a": 1, "b": 2.5, "c": "x", "d": b"", "e": True}],
)
def test_plain_records_pass_as_they_are(record: Record) -> None:
    plain = PlainRecords()
    for _ in range(2):  # the second time their keys are known
        (found,) = plain.of([record])
        assert found is record


@pytest.mark.parametrize("bad", [{"a": object()}, {5: 1}, {"\ud800": 1}, {"a": {"\ud800": 1}}])
def test_a_record_that_is_not_plain_is_refused_also_if_its_keys_are_known(bad: Any) -> None:
    plain = PlainRecords()
    plain.of([{"a": 1}])
    with pytest.raises(BadResult):
        plain.of([{"a": 1}, bad])


def test_the_known_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_MANY", 10)
    plain = PlainRecords()
    for n in range(100):
        plain.of([{f"k{n}": 1}])
    assert len(plain._keys) == 10
