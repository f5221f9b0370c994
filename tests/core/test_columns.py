from typing import Any

import pytest

from streamd.core.batch import Batch
from streamd.core.columns import Columns, FlatColumns, RecordColumns

NAMES = ("a", "b", "@source", "@peer", "@received_at", "c")


def both(peers: Any, times: Any) -> tuple[Columns, Columns]:
    flat = Batch.of([1, None, 2, "x", 1, "y"], "s", "p", peers, times, fields=("a", "b"))
    lifted = Batch.of([flat.record(index) for index in range(3)], "s", "p", peers, times)
    lifted.lift()
    return FlatColumns(flat), RecordColumns(lifted.records)


@pytest.mark.parametrize("peers", ["p:1", ["p:1", "p:2", "p:1"]])
@pytest.mark.parametrize("times", [5.0, [5.0, 6.25, 5.0]])
def test_both_kinds_of_batch_have_the_same_columns_and_records(peers: Any, times: Any) -> None:
    flat, dicts = both(peers, times)
    assert len(flat) == len(dicts) == 3
    for name in NAMES:
        assert list(flat.column(name)) == list(dicts.column(name))
        assert flat.different(name) == dicts.different(name)
    for index in range(3):
        assert list(flat.record(index).items()) == list(dicts.record(index).items())
        assert flat.metadata(index) == dicts.metadata(index)
    assert flat.records() == dicts.records()


def test_a_record_has_only_the_metadata_that_it_has() -> None:
    columns = RecordColumns([{"a": 1, "@peer": "p"}, {"@source": "s"}])
    assert columns.metadata(0) == {"@peer": "p"}
    assert columns.column("a") == [1, None]
    assert columns.different("a") == {1, None}


def test_values_that_cannot_be_in_a_set_are_the_callers_affair() -> None:
    with pytest.raises(TypeError):
        RecordColumns([{"a": []}]).different("a")
