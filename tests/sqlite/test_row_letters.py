"""The dead letters of refused rows are committed once, although a write is tried again."""

from typing import Any

import pytest

from streamd.core.dead_letter import LetterList
from streamd.core.errors import SinkError
from streamd.sqlite.row_letters import RowLetters
from streamd.sqlite.rows import BadRow


async def test_a_retry_stores_no_letter_twice_and_the_next_write_may(batch_of: Any) -> None:
    store = LetterList()
    letters = RowLetters("rows", store)
    one, other = batch_of([{"n": 1}, {"n": 2}]), batch_of([{"n": 3}])
    await letters.keep([(one, BadRow(1, "schema:type", ""))])
    await letters.keep([(one, BadRow(1, "schema:type", "")), (other, BadRow(0, "schema:range", "too much"))])
    assert [(letter.sink, letter.reason) for letter in store.letters] == [
        ("rows", "schema:type"), ("rows", "schema:range"),
    ]  # fmt: skip
    payload: Any = store.letters[0].payload
    assert payload["n"] == 2
    letters.forget()
    await letters.keep([(one, BadRow(1, "schema:type", ""))])
    assert len(store.letters) == 3


async def test_a_letter_that_was_not_committed_is_tried_again(batch_of: Any) -> None:
    class Full(LetterList):
        async def commit(self, letters: Any) -> None:
            raise SinkError("full")

    letters = RowLetters("rows", Full())
    one = batch_of([{"n": 1}])
    with pytest.raises(SinkError):
        await letters.keep([(one, BadRow(0, "schema:type", ""))])
    letters._store = store = LetterList()
    await letters.keep([(one, BadRow(0, "schema:type", ""))])
    assert len(store.letters) == 1
