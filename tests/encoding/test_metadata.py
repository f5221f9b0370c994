from itertools import islice
from typing import Any

import pytest

from streamd.core.batch import Batch
from streamd.encoding.metadata import metadata

TEXTS = ["1970-01-01T00:00:01.000000Z", "1970-01-01T00:00:02.500000Z"]


def rows_of(batch: Batch) -> list[tuple[Any, ...]]:
    return list(islice(zip(*metadata(batch), strict=False), len(batch)))


@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("peers", ["10.0.0.1:1", ["10.0.0.1:1", "10.0.0.2:2"]])
@pytest.mark.parametrize("times", [1.0, [1.0, 2.5]])
def test_each_record_has_its_own_time_and_peer_wherever_the_batch_keeps_them(
    lifted: bool, peers: Any, times: Any
) -> None:
    batch = Batch.of([{"n": 1}, {"n": 2}], "lab", "main", peers, times)
    if lifted:
        batch.lift()
    assert rows_of(batch) == [
        (
            TEXTS[0] if times == 1.0 else TEXTS[n],
            "lab",
            peers if isinstance(peers, str) else peers[n],
        )
        for n in range(2)
    ]


@pytest.mark.parametrize("peer", [5, None, ["10.0.0.1:1"], {"host": "a"}, b"10.0.0.1:1", True])
def test_a_peer_that_a_step_has_made_something_else_of_than_text_is_empty(peer: Any) -> None:
    batch = Batch.of([{"@peer": peer, "@received_at": TEXTS[0]}, {}], "lab", "main", "", 0.0, lifted=True)
    assert rows_of(batch) == [(TEXTS[0], "lab", None), (None, "lab", None)]


@pytest.mark.parametrize("time", ["soon", None, [1.0], {"s": 1}, b"1", "2026-02-30T00:00:00Z"])
def test_a_time_that_is_none_is_empty(time: Any) -> None:
    batch = Batch.of([{"@peer": "p", "@received_at": time}], "lab", "main", "", 0.0, lifted=True)
    assert rows_of(batch) == [(None, "lab", "p")]


def test_a_time_that_a_step_has_set_in_other_words_is_stored_like_any_other() -> None:
    records = [{"@received_at": "1970-01-01T01:00:01+01:00"}, {"@received_at": 2.5}]
    batch = Batch.of(records, "lab", "main", "", 0.0, lifted=True)
    assert [time for time, _, _ in rows_of(batch)] == TEXTS
