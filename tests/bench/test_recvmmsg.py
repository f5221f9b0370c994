import socket

import pytest

from streamd.bench import recvmmsg


def test_every_datagram_is_counted_once_whatever_its_size() -> None:
    with recvmmsg.bound() as receiving, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        for number in range(1100):
            sending.sendto(b"x" * (number * 7), receiving.getsockname())
        assert recvmmsg.count(receiving, 1100)["counted"] == 1100


def test_it_ends_when_nothing_more_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recvmmsg, "_QUIET_S", 0.01)
    with recvmmsg.bound() as receiving, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.sendto(b"only", receiving.getsockname())
        assert recvmmsg.count(receiving, 2)["counted"] == 1
