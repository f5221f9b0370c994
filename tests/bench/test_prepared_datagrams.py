import socket

from streamd.bench.prepared_datagrams import send


def test_each_line_is_a_datagram_and_the_sockets_take_turns() -> None:
    lines = [b"%d" % number for number in range(50)]
    with socket.socket(type=socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        found = send(receiver.getsockname()[1], lines, 5, 100_000)
        read = [receiver.recvfrom(100) for _ in lines]
    assert [line for line, _ in read] == lines
    assert len({sender for _, sender in read}) == 5
    assert [sender for _, sender in read[:5]] == [sender for _, sender in read[5:10]]
    assert 0 < found["rate"] <= 100_000
