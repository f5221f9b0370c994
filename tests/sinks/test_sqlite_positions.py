"""Records of an input that is read again are stored once, and only by the process that claimed it last."""

from typing import Any

import pytest

from streamd.core.ack import Ack
from streamd.core.acks import Acks
from streamd.core.batch import Batch
from streamd.core.errors import SinkError
from streamd.core.tenure import InputPart, StoredUpTo, Tenure

TYPED = {"table": "t", "columns": {"word": "str", "n": "int"}}


def batch(tenure: Tenure, *parts: tuple[int, str]) -> Batch:
    made = Batch.of(
        [{"word": word, "n": n} for n, words in parts for word in words],
        "s",
        "p",
        "readings.1",
        1.0,
        lifted=True,
    )
    made.acks = Acks([(len(words), Ack(lambda _: None, InputPart(tenure, n))) for n, words in parts])
    return made


async def claimed(sink: Any, sequence: str = "W/1") -> Tenure:
    tenure = Tenure(sequence)
    await sink.claim(tenure, "p")
    return tenure


def words(bench: Any) -> str:
    return "".join(word for (word,) in bench.query("SELECT word FROM t ORDER BY rowid"))


def positions(bench: Any) -> list[Any]:
    found: list[Any] = bench.query("SELECT input, number, rows, epoch FROM streamd_positions ORDER BY 1")
    return found


@pytest.mark.parametrize("more", [{}, {"unique": ["word"]}], ids=["at once", "unique"])
async def test_what_is_read_again_after_a_restart_is_stored_once(bench: Any, more: dict[str, Any]) -> None:
    sink = await bench.open(**TYPED, **more)
    assert sink.keeps_positions
    tenure = await claimed(sink)
    assert tenure.is_new
    written = await sink.write([batch(tenure, (1, "ab"), (2, "cd")), batch(tenure, (3, "e"))])
    assert ([*map(len, written.rejected)], written.left_out) == ([0, 0], None)
    assert positions(bench) == [("W/1", 3, 1, 1)]
    await bench.close()

    sink = await bench.open(**TYPED, **more)
    again = Tenure("W/1")
    assert await sink.claim(again, "p") == (StoredUpTo(3, 1), None)
    assert not again.is_new
    written = await sink.write([batch(again, (2, "cd"), (3, "ef"))])
    assert written.left_out == [dict.fromkeys(range(3), "already_stored")]
    assert words(bench) == "abcdef"
    assert positions(bench) == [("W/1", 3, 2, 2)]
    assert (await sink.write([batch(again, (3, "")), batch(again, (4, "g"))])).left_out is None
    assert words(bench) == "abcdefg"


@pytest.mark.parametrize("bad", [False, True])
async def test_a_process_whose_claim_is_over_stores_nothing_of_that_input(bench: Any, bad: bool) -> None:
    old, new = await bench.open(**TYPED), await bench.open(**TYPED)
    mine, others = await claimed(old), await claimed(old, "W/2")
    await old.write([batch(mine, (1, "a"))])
    ended: list[str] = []
    mine._on_end = ended.append
    late = batch(mine, (2, "x"))
    if bad:
        late.records[0]["n"] = "no number"
    theirs = Tenure("W/1")
    assert (await new.claim(theirs, "p")).stored == StoredUpTo(1, 1)
    written = await old.write([late, batch(others, (7, "b"))])
    assert written.left_out == [{0: "handed_over"}, {}]
    assert (ended, mine.ended, others.ended) == (["fenced"], True, False)
    assert words(bench) == "ab"
    await new.write([batch(theirs, (2, "y"))])
    assert words(bench) == "aby"
    assert positions(bench) == [("W/1", 2, 1, 2), ("W/2", 7, 1, 1)]
    assert not bench.office.letters, "another process has them"


async def test_a_rejected_record_is_part_of_what_is_stored(bench: Any) -> None:
    sink = await bench.open(**TYPED)
    tenure = await claimed(sink)
    first = batch(tenure, (1, "abc"))
    first.records[1]["n"] = "no number"
    assert (await sink.write([first])).rejected == [[1]]
    assert positions(bench) == [("W/1", 1, 3, 1)]
    assert len(bench.office.letters) == 1
    again = await claimed(sink)
    assert (await sink.write([batch(again, (1, "abcd"))])).left_out == [
        dict.fromkeys(range(3), "already_stored")
    ]
    assert words(bench) == "acd"


async def test_a_failed_write_moves_no_position_and_a_retry_stores_all(bench: Any) -> None:
    sink = await bench.open(**TYPED)
    tenure = await claimed(sink)
    given = [batch(tenure, (1, "ab"))]
    with bench.write_lock(), pytest.raises(SinkError, match="locked"):
        await sink.write(given)
    assert positions(bench) == [("W/1", 0, 0, 1)]
    assert (await sink.write(given)).left_out is None
    assert words(bench) == "ab"


async def test_an_input_that_the_sink_does_not_know_is_given_back(bench: Any) -> None:
    sink = await bench.open(**TYPED)
    ended: list[str] = []
    tenure = Tenure("W/1", ended.append)
    assert (await sink.write([batch(tenure, (1, "ab"))])).left_out == [dict.fromkeys(range(2), "handed_over")]
    assert ended == ["unknown"]
    assert words(bench) == ""


async def test_a_state_is_kept_until_somebody_else_claims_the_input(bench: Any) -> None:
    old, new = await bench.open(**TYPED), await bench.open(**TYPED)
    mine = await claimed(old)
    await old.keep_state(mine, "p", b"one")
    await old.keep_state(mine, "p", b"two")
    theirs = Tenure("W/1")
    assert await new.claim(theirs, "p") == (StoredUpTo(0, 0), b"two")
    await old.keep_state(mine, "p", b"three")
    assert mine.ended
    await new.keep_state(theirs, "p", b"four")
    assert (await old.claim(Tenure("W/1"), "p")).state == b"four"


async def test_a_removed_row_of_a_position_is_made_again(bench: Any) -> None:
    sink = await bench.open(**TYPED)
    tenure = await claimed(sink)
    await sink.write([batch(tenure, (1, "a"))])
    await sink._writer.database.execute("DELETE FROM streamd_positions")
    await sink.write([batch(tenure, (2, "b"))])
    assert positions(bench) == [("W/1", 2, 1, 1)]


async def test_a_path_with_a_date_keeps_no_positions(bench: Any) -> None:
    sink = await bench.open(path="data-%Y-%m-%d.db", **TYPED)
    assert not sink.keeps_positions
    with pytest.raises(SinkError, match="positions"):
        await sink.claim(Tenure("W/1"), "p")
