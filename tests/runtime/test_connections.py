from streamd.core.frames import Frames
from streamd.core.peer import Peer
from streamd.runtime.connections import Connections


def connection(text: str) -> Peer:
    """A peer of its own, as each connection has one."""
    return Peer(text)


def test_an_end_comes_behind_all_frames_of_its_connection_and_only_those() -> None:
    one, other = connection("10.0.0.1:1"), connection("10.0.0.2:2")
    c = Connections()
    c.came(Frames.of([b"a", b"b"], one, 1.0))
    c.came(Frames.of([b"c"], other, 1.0))
    c.ended(one)
    assert not c.over
    c.went(Frames.of([b"a"], one, 1.0))
    c.went(Frames.of([b"c"], other, 1.0))
    assert not c.over
    c.went(Frames.of([b"b"], one, 1.0))
    assert [peer is one for peer in c.over] == [True]


def test_the_end_of_a_connection_without_frames_that_wait_is_due_at_once() -> None:
    c = Connections()
    c.ended(connection("10.0.0.1:1"))
    assert list(c.over) == ["10.0.0.1:1"]


def test_two_connections_of_one_process_have_ends_of_their_own() -> None:
    one, other = connection("pid=1,uid=2,gid=3"), connection("pid=1,uid=2,gid=3")
    c = Connections()
    c.came(Frames.of([b"a"], one, 1.0))
    c.came(Frames.of([b"b"], other, 1.0))
    c.ended(other)
    c.went(Frames.of([b"a"], one, 1.0))
    assert not c.over
    c.went(Frames.of([b"b"], other, 1.0))
    assert [peer is other for peer in c.over] == [True]


def test_nothing_is_kept_of_connections_that_are_over_or_where_nobody_counts() -> None:
    c = Connections()
    for n in range(3):
        peer = connection(f"10.0.0.1:{n}")
        c.came(Frames.of([b"a"], peer, 1.0))
        c.ended(peer)
        c.went(Frames.of([b"a"], peer, 1.0))
        c.over.popleft()
    assert (c._waiting, c._ending) == ({}, {})
    c.count(on=True)
    assert c.counting
    last, over = connection("x:1"), connection("x:2")
    c.came(Frames.of([b"a"], last, 1.0))
    c.ended(last)
    c.ended(over)
    c.count(on=False)
    assert not c.counting
    assert (c._waiting, c._ending, len(c.over)) == ({}, {}, 0)
