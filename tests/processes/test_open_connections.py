"""The open connections of each process, in memory that all of them map."""

import os

from streamd.core.settings import Address
from streamd.processes.open_connections import OpenConnections

ONE, TWO, THREE = (Address("127.0.0.1", port) for port in (1, 2, 3))


def test_each_process_sees_the_numbers_of_the_others_by_address() -> None:
    leading = OpenConnections([ONE, TWO], 2)
    processes = [OpenConnections(leading.addresses, 2, os.dup(leading.fd)) for _ in range(2)]
    shares = [[process.share(at, number) for at in (ONE, TWO)] for number, process in enumerate(processes)]
    for of_process in shares:
        for share in of_process:
            assert share is not None
            assert share.of(3) == (2 if of_process is shares[1] else 3), "the other one may be away"
            share.note(0)
    for n, at in enumerate((ONE, TWO)):
        first, second = shares[0][n], shares[1][n]
        assert first is not None
        assert second is not None
        first.note(2 + n)
        assert (first.of(1), second.of(1), second.of(2 + n)) == (0, 1, 2 + n), at
    leading.leave(1)
    assert [share.of(1) for share in shares[0] if share is not None] == [1, 1]
    assert processes[0].share(THREE, 0) is None
    for each in (leading, *processes):
        each.close()
        each.close()
