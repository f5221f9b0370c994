from typing import Any

import pytest

from streamd.core.ack import Ack, Status
from streamd.core.acks import Acks
from streamd.core.batch import Batch, copied, peer_of, received_at_of

PEERS = ["10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3"]
TIMES = [1e9, 1e9 + 1.5, 1e9 + 2]


def mixed(**more: Any) -> Batch:
    return Batch.of(
        [{"n": n} for n in range(3)], "lab", "main", list(PEERS), list(TIMES), size_bytes=100, **more
    )


def flat(count: int = 3, **more: Any) -> Batch:
    values = [value for n in range(count) for value in (n, f"t{n}")]
    return Batch.of(values, "lab", "main", "10.0.0.1:1", 1e9, fields=("n", "t"), size_bytes=100, **more)


def test_a_copy_shares_no_dict_and_no_list_at_any_depth() -> None:
    record = {"a": {"b": [1, {"c": [2]}]}, "d": [[3]], "e": b"x"}
    copy = copied(record)
    assert copy == record
    copy["a"]["b"][1]["c"].append(0)
    copy["a"]["b"].append(0)
    copy["d"][0].append(0)
    copy["new"] = 1
    assert record == {"a": {"b": [1, {"c": [2]}]}, "d": [[3]], "e": b"x"}


def test_a_copy_of_a_record_that_holds_itself_is_an_error() -> None:
    record: dict[str, Any] = {}
    record["me"] = record
    with pytest.raises(RecursionError):
        copied(record)


@pytest.mark.parametrize(
    ("record", "peer"),
    [
        ({"@peer": "10.0.0.1:1"}, "10.0.0.1:1"),
        ({}, None),
        ({"@peer": 5}, None),
        ({"@peer": ["a"]}, None),
        (7, None),
    ],
)
def test_the_peer_of_a_record_is_a_text_or_unknown(record: Any, peer: str | None) -> None:
    assert peer_of(record) == peer


@pytest.mark.parametrize(
    ("record", "time_s"),
    [
        ({"@received_at": "2001-09-09T01:46:41.500000Z"}, 1e9 + 1.5),
        ({"@received_at": "2001-09-09T03:46:41+02:00"}, 1e9 + 1),
        ({"@received_at": "2001-09-09T01:46:41"}, 5.0),
        ({"@received_at": "0001-01-01T00:00:00+14:00"}, -62135647200.0),
        ({"@received_at": "yesterday"}, 5.0),
        ({"@received_at": None}, 5.0),
        ({"@received_at": 1e9}, 5.0),
        ({}, 5.0),
        ([], 5.0),
    ],
)
def test_the_time_of_a_record_is_its_own_or_that_of_its_batch(record: Any, time_s: float) -> None:
    assert received_at_of(record, 5.0) == time_s


def test_each_record_has_its_own_peer_and_time_before_a_lift_and_after() -> None:
    batch = mixed()
    for _ in range(2):
        assert [batch.peer(n) for n in range(3)] == PEERS
        assert [batch.time(n) for n in range(3)] == TIMES
        assert batch.first_received_at == TIMES[0]
        batch.lift()
    one = Batch.of([{}, {}], "lab", "main", "10.0.0.1:1", 1e9)
    for _ in range(2):
        assert [(one.peer(n), one.time(n)) for n in range(2)] == [("10.0.0.1:1", 1e9)] * 2
        one.lift()


@pytest.mark.parametrize(
    ("peers", "times"),
    [(PEERS, TIMES), ("10.0.0.1:1", TIMES), (PEERS, 1e9), ("10.0.0.1:1", 1e9)],
)
def test_a_lift_puts_the_metadata_into_each_record_and_leaves_one_value_beside_them(
    peers: Any, times: Any
) -> None:
    batch = Batch.of([{"n": n} for n in range(3)], "lab", "main", peers, times)
    batch.lift()
    texts = ["2001-09-09T01:46:40.000000Z", "2001-09-09T01:46:41.500000Z", "2001-09-09T01:46:42.000000Z"]
    assert batch.records == [
        {
            "n": n,
            "@source": "lab",
            "@peer": peers if isinstance(peers, str) else peers[n],
            "@received_at": texts[0] if isinstance(times, float) else texts[n],
        }
        for n in range(3)
    ]
    assert batch.peers.values is None
    assert (batch.received_at.values, batch.received_at.same) == (None, 1e9)
    assert batch.lifted


def test_a_second_lift_leaves_alone_what_a_step_has_changed() -> None:
    batch = mixed()
    batch.lift()
    batch.records[0]["@peer"] = "me"
    del batch.records[2]["@peer"]
    batch.lift()
    assert [batch.peer(n) for n in range(3)] == ["me", PEERS[1], None]


def test_a_batch_of_nothing_can_be_lifted() -> None:
    batch = Batch.of([], "lab", "main", [], [])
    batch.lift()
    assert batch.first_received_at == 0.0


def test_both_parts_of_a_cut_batch_are_as_the_whole_was() -> None:
    told: list[Status] = []
    head, tail = mixed(ack=Ack(told.append)).split(1)
    assert (head.records, tail.records) == ([{"n": 0}], [{"n": 1}, {"n": 2}])
    assert (head.peers.values, tail.peers.values) == (PEERS[:1], PEERS[1:])
    assert (head.received_at.values, tail.received_at.values) == (TIMES[:1], TIMES[1:])
    assert (head.size_bytes, tail.size_bytes) == (33, 67)
    assert [sum(n for n, _ in part.acks.runs) for part in (head, tail) if part.acks] == [1, 2]
    for part in (head, tail):
        assert (part.source, part.pipeline, part.lifted, part.fields) == ("lab", "main", False, None)
        assert told == []
        part.settle(Status.DELIVERED)
    assert told == [Status.DELIVERED]


def test_a_cut_batch_that_is_lifted_is_lifted_in_both_parts() -> None:
    batch = mixed()
    batch.lift()
    parts = batch.split(2)
    assert [part.lifted for part in parts] == [True, True]
    assert [part.peer(0) for part in parts] == [PEERS[0], PEERS[2]]
    assert [part.received_at.same for part in parts] == [1e9, 1e9]


def test_a_flat_batch_is_counted_cut_and_read_by_records() -> None:
    batch = flat()
    assert len(batch) == 3
    assert [batch.record(n) for n in range(3)] == [{"n": n, "t": f"t{n}"} for n in range(3)]
    head, tail = batch.split(1)
    assert (head.records, tail.records) == ([0, "t0"], [1, "t1", 2, "t2"])
    assert (len(head), len(tail)) == (1, 2)
    assert tail.record(1) == {"n": 2, "t": "t2"}
    assert (head.size_bytes, tail.size_bytes) == (33, 67)


def test_a_record_of_a_batch_of_dicts_is_the_one_that_is_there() -> None:
    batch = mixed()
    assert batch.record(1) is batch.records[1]


def test_a_part_of_a_lifted_batch_has_its_share_of_the_memory_and_all_else_of_the_whole() -> None:
    batch = mixed()
    batch.lift()
    acks = Acks.same(Ack(lambda _: None), 2)
    part = batch.chosen(batch.records[1:], acks)
    assert (part.source, part.pipeline, part.lifted, part.acks, len(part)) == ("lab", "main", True, acks, 2)
    assert [part.peer(n) for n in range(2)] == PEERS[1:]
    assert [part.time(n) for n in range(2)] == TIMES[1:]
    assert part.size_bytes == 66


def test_values_before_a_step_set_some_are_kept_as_long_as_the_batch() -> None:
    batch = flat(4)
    before = batch.records
    batch.set_values(before, batch.peers, batch.received_at)
    assert (batch.replaced, batch.size_bytes) == (None, 100)
    batch.set_values([value for n in range(2) for value in (n, "x")], batch.peers, batch.received_at)
    assert batch.replaced is before
    assert (len(batch), batch.record(1)["n"], batch.size_bytes) == (2, 1, 100 + 16 * 4)


def test_values_of_a_batch_that_lost_most_of_its_records_are_not_kept() -> None:
    batch = flat(4)
    batch.set_values([0, "x"], batch.peers, batch.received_at)
    assert (batch.replaced, len(batch), batch.size_bytes) == (None, 1, 100)
