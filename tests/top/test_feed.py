import threading
from pathlib import Path

import pytest

from streamd.top.feed import StatusFeed, senders_of


def test_the_senders_are_read_by_the_names_of_the_columns() -> None:
    body = b'{"columns": ["last", "sender", "found", "records"], "rows": [["t", "10.0.0.1", "gaps", 7]]}'
    assert senders_of(body) == ((("10.0.0.1", "gaps", 7),), 0)
    assert senders_of(body.replace(b'"rows"', b'"left_out": 12, "rows"', 1)).left_out == 12


@pytest.mark.parametrize(
    "body",
    [b"", b"not found", b"[]", b"7", b'{"columns": ["sender"], "rows": []}', b'{"columns": 1}', b"\xff"],
)
def test_an_answer_that_is_not_understood_names_no_senders(body: bytes) -> None:
    assert senders_of(body) == ((), 0)


def test_without_a_daemon_the_reason_is_news(tmp_path: Path) -> None:
    woken = threading.Event()
    feed = StatusFeed(tmp_path / "control.sock", woken.set)
    feed.start()
    assert woken.wait(30)
    feed.close()
    assert feed.news.status is None
    assert feed.news.fault is not None
    assert feed.news.fault.startswith(f"no daemon answers at {tmp_path / 'control.sock'}")
