import socket
from pathlib import Path
from threading import Thread

import pytest

from streamd.bench.prepared_sender import parts, prepare, send


@pytest.mark.parametrize("count", [1, 3, 4, 50])
def test_the_parts_are_whole_lines_and_all_of_them(count: int) -> None:
    data = b"".join(b"%d\n" % n for n in range(20))
    found = parts(data, count)
    assert len(found) == count
    assert b"".join(found) == data
    assert all(not part or bytes(part).endswith(b"\n") for part in found)


def test_every_connection_sends_its_part_and_waits_until_the_receiver_closes() -> None:
    received: list[bytes] = []

    def receive(connection: socket.socket) -> None:
        with connection:
            received.append(b"".join(iter(lambda: connection.recv(65536), b"")))

    data = b"".join(b"line %d\n" % n for n in range(1000))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            for _ in range(3):
                readers.append(Thread(target=receive, args=(server.accept()[0],)))
                readers[-1].start()

        readers: list[Thread] = []
        accepting = Thread(target=accept)
        accepting.start()
        found = send(server.getsockname()[1], data, 3)
        accepting.join()
        for reader in readers:
            reader.join()
    assert sorted(received) == sorted(map(bytes, parts(data, 3)))
    assert found["cpu_s"] >= 0


def test_the_prepared_file_has_the_wanted_number_of_lines(tmp_path: Path) -> None:
    prepare(tmp_path / "lines", 1500)
    lines = (tmp_path / "lines").read_bytes().splitlines()
    assert len(lines) == 1500
    assert all(line.startswith(b"{") for line in lines)
