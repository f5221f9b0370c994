from pathlib import Path
from typing import Any, cast

import pytest

from streamd.core.batch import Batch
from streamd.core.contracts import SinkContext
from streamd.core.dead_letter import DeadLetter
from streamd.core.errors import SinkError
from streamd.core.settings import Settings
from streamd.core.shared import Shared
from streamd.encoders.json import Json
from streamd.encoding.lines import Lines
from streamd.encoding.separated import Separated

PEERS = ["10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3"]
TIMES = [1e9, 1e9 + 1.5, 1e9 + 2]
TEXTS = ["2001-09-09T01:46:40.000000Z", "2001-09-09T01:46:41.500000Z", "2001-09-09T01:46:42.000000Z"]


class Office:
    """Commits dead letters, unless it is `closed`."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.closed = False

    def keep(self, letters: list[DeadLetter], ack: Any = None) -> None:
        raise AssertionError(ack)

    async def commit(self, letters: list[DeadLetter]) -> None:
        if self.closed:
            raise SinkError("disk_full", "no room")
        self.letters += letters


@pytest.fixture
def office() -> Office:
    return Office()


def lines_of(office: Office, *, add_metadata: bool = False) -> Lines:
    context = SinkContext("out", {}, Path(), office, Shared())
    separated = Separated(Json(Settings()), "newline", add_metadata=add_metadata)
    return Lines(context, separated.encode, add_metadata=add_metadata)


def mixed(*records: Any, lifted: bool = False) -> Batch:
    batch = Batch.of(
        [dict(record) for record in records], "lab", "main", PEERS[: len(records)], TIMES[: len(records)]
    )
    if lifted:
        batch.lift()
    return batch


@pytest.mark.parametrize("lifted", [False, True])
async def test_what_has_no_line_is_a_dead_letter_of_its_own_peer_and_time(
    office: Office, lifted: bool
) -> None:
    prepared = await lines_of(office).of(
        [
            mixed({"n": 1}, lifted=lifted),
            mixed({"n": 2}, {"n": float("nan")}, {"n": float("inf")}, lifted=lifted),
        ]
    )
    assert prepared.lines == [b'{"n":1}\n', b'{"n":2}\n']
    assert prepared.rejected == [[], [1, 2]]
    assert prepared.written().rejected == [[], [1, 2]]
    assert prepared.written().replaced == [0, 0]
    assert [(x.peer, x.received_at, x.stage, x.reason) for x in office.letters] == [
        (peer, time_s, "sink", "row:not_finite") for peer, time_s in zip(PEERS[1:], TIMES[1:], strict=True)
    ]
    assert {(x.source, x.pipeline, x.sink) for x in office.letters} == {("lab", "main", "out")}
    assert [str(cast("Any", x.payload)["n"]) for x in office.letters] == ["nan", "inf"]


async def test_each_batch_counts_its_own_rejects(office: Office) -> None:
    bad = {"n": float("nan")}
    prepared = await lines_of(office).of([mixed(bad), mixed({"n": 1}, bad), mixed({"n": 2})])
    assert prepared.rejected == [[0], [1], []]


async def test_a_lost_line_is_that_of_its_record_also_behind_a_rejected_one(office: Office) -> None:
    bad = {"n": float("nan")}
    prepared = await lines_of(office).of([mixed({"n": 1}, bad, {"n": 2}), mixed(bad, {"n": 3})])
    assert prepared.written({1: "closed", 2: "closed"}).dropped == [{2: "closed"}, {1: "closed"}]


async def test_batches_that_are_tried_again_bring_no_dead_letter_again(office: Office) -> None:
    lines = lines_of(office)
    batches = [mixed({"n": 1}, {"n": float("nan")})]
    first = await lines.of(batches)
    assert await lines.of(batches) is first
    assert len(office.letters) == 1
    lines.forget()
    assert lines._last is None
    assert (await lines.of([mixed({"n": 3})])).lines == [b'{"n":3}\n']


async def test_without_room_for_its_dead_letters_nothing_is_written(office: Office) -> None:
    office.closed = True
    lines = lines_of(office)
    batches = [mixed({"n": float("nan")})]
    with pytest.raises(SinkError):
        await lines.of(batches)
    office.closed = False
    assert (await lines.of(batches)).rejected == [[0]]
    assert len(office.letters) == 1


@pytest.mark.parametrize("lifted", [False, True])
async def test_metadata_goes_out_under_names_of_its_own_or_not_at_all(office: Office, lifted: bool) -> None:
    plain = await lines_of(office).of([mixed({"n": 1}, {"n": 2}, lifted=lifted)])
    assert plain.lines == [b'{"n":1}\n', b'{"n":2}\n']
    full = await lines_of(office, add_metadata=True).of([mixed({"n": 1}, {"n": 2}, lifted=lifted)])
    assert full.lines == [
        b'{"n":%d,"_received_at":"%b","_source":"lab","_peer":"%b"}\n' % (n, text.encode(), peer.encode())
        for n, (text, peer) in enumerate(zip(TEXTS[:2], PEERS, strict=False), 1)
    ]


async def test_a_flag_goes_out_under_a_name_of_its_own_and_the_record_stays_as_it_is(office: Office) -> None:
    batch = mixed({"n": 1, "@flag": "truncated"}, {"n": 2})
    prepared = await lines_of(office).of([batch])
    assert prepared.lines == [b'{"n":1,"_flag":"truncated"}\n', b'{"n":2}\n']
    assert batch.records[0] == {"n": 1, "@flag": "truncated"}


async def test_flat_records_are_lines_of_their_fields(office: Office) -> None:
    batch = Batch.of([1, None, 2, "x"], "lab", "main", "10.0.0.1:1", 1e9, fields=("n", "t"))
    assert (await lines_of(office).of([batch])).lines == [b'{"n":1,"t":null}\n', b'{"n":2,"t":"x"}\n']
