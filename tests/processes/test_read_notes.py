"""Datagrams that a process has taken from the kernel and not counted."""

import os
import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest

from streamd.core.books import FrameBook
from streamd.net.recvmmsg import new_receiver
from streamd.processes import shared_numbers
from streamd.processes.read_notes import SharedReadNotes, notes_in, uncounted
from streamd.processes.shared_books import SharedBooks, take_over
from streamd.processes.shared_numbers import SharedNumbers
from streamd.processes.snapshot import merged_books


@pytest.fixture
def numbers() -> Iterator[SharedNumbers]:
    made = SharedNumbers()
    yield made
    os.close(made.fd)  # the books keep the memory


def noted(numbers: SharedNumbers, book: FrameBook) -> SharedReadNotes:
    notes = notes_in(numbers, book, 5)
    assert notes is not None
    return notes


def test_a_datagram_is_uncounted_from_the_system_call_until_it_is_received(numbers: SharedNumbers) -> None:
    books = SharedBooks(numbers)
    book = books.source("lab")
    notes = noted(numbers, book)
    assert notes.counted_drops == 5
    seen = []
    with socket.socket(type=socket.SOCK_DGRAM) as sock, socket.socket(type=socket.SOCK_DGRAM) as sender:
        sock.bind(("127.0.0.1", 0))
        receive = new_receiver(sock, notes)
        for payloads in ([b"one", b"", b"three"], [b"four"], []):
            for payload in payloads:
                sender.sendto(payload, sock.getsockname())
            assert receive()[0] == payloads
            for _ in range(len(payloads) + 1):
                seen.append(dict(uncounted(numbers)).get("lab"))
                book.received += 1
            book.received -= 1
            notes.end()
            seen.append(dict(uncounted(numbers)).get("lab"))
    assert seen == [3, 2, 1, 0, None, 1, 0, None, 0, None]


def test_they_are_under_way_in_the_books_of_the_process_that_has_ended(numbers: SharedNumbers) -> None:
    books = SharedBooks(numbers)
    book = books.source("lab")
    notes = noted(numbers, book)
    report = merged_books([books])
    with socket.socket(type=socket.SOCK_DGRAM) as sock, socket.socket(type=socket.SOCK_DGRAM) as sender:
        sock.bind(("127.0.0.1", 0))
        for _ in range(4):
            sender.sendto(b"x", sock.getsockname())
        new_receiver(sock, notes)()
    book.received += 1
    take_over(report, numbers)
    assert report.source("lab").received == report.source("lab").left == 4


def test_frames_of_a_framing_that_are_more_than_the_datagrams_are_no_loss(numbers: SharedNumbers) -> None:
    books = SharedBooks(numbers)
    notes = noted(numbers, books.source("lab"))
    with socket.socket(type=socket.SOCK_DGRAM) as sock, socket.socket(type=socket.SOCK_DGRAM) as sender:
        sock.bind(("127.0.0.1", 0))
        sender.sendto(b"one\ntwo\n", sock.getsockname())
        new_receiver(sock, notes)()
    books.source("lab").received += 2
    assert dict(uncounted(numbers)) == {"lab": 0}


def test_without_room_there_are_no_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_numbers, "_BLOCKS_BYTES", 2 * 32 * 1024)
    numbers = SharedNumbers()
    made = [notes_in(numbers, FrameBook(name), None) for name in "abc"]
    assert [notes is not None for notes in made] == [True, True, False]
    assert not numbers.are_all
    first, second = (notes.headers for notes in made if notes is not None)
    first[:], second[:] = b"\1" * len(first), b"\2" * len(second)
    assert {first[0], first[-1]} == {1}
    assert all(name != other for (name, _), (other, _) in pairwise(numbers.items()))
    os.close(numbers.fd)
