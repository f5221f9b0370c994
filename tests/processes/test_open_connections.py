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
    (one, two), (other_one, other_two) = shares
    assert one is not None
    assert two is not None
    assert other_one is not None
    assert other_two is not None
    one.note(2)
    other_two.note(3)
    assert (one.of(1), other_one.of(1), other_one.of(2)) == (0, 1, 2)
    assert (two.of(1), two.of(3), other_two.of(1)) == (1, 3, 0)
    leading.leave(1)
    assert [share.of(1) for share in shares[0] if share is not None] == [1, 1]
    assert processes[0].share(THREE, 0) is None
    for each in (leading, *processes):
        each.close()
        each.close()
