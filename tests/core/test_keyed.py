from streamd.core.batch import Record
from streamd.core.contracts import Processed
from streamd.core.keyed import keyed
from streamd.core.record_key import RecordKey


def test_records_without_a_key_become_rejects_and_the_others_keep_their_order() -> None:
    key_of = RecordKey(["k"], None).of
    records: list[Record] = [{"k": "a"}, {"k": None}, {"k": "b"}, {}]
    done = Processed([])
    keys, with_key = keyed(key_of, records, done)
    assert keys == ["a", "b"]
    assert with_key == [records[0], records[2]]
    assert [(bad.record, bad.reason) for bad in done.rejects] == [
        (records[1], "key:missing"),
        (records[3], "key:missing"),
    ]


def test_records_that_all_have_a_key_are_the_same_list() -> None:
    done = Processed([])
    records: list[Record] = [{"k": "a"}, {"k": "a"}]
    keys, with_key = keyed(RecordKey(["k"], None).of, records, done)
    assert keys == ["a", "a"]
    assert with_key is records
    assert done.rejects == []
