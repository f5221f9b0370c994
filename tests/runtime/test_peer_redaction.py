import pytest

from streamd.core.peer import Peer
from streamd.core.quality import RuleCount
from streamd.redaction.actions import keyed_hash
from streamd.runtime import peer_redaction
from streamd.runtime.peer_redaction import PeerRedaction

HASH = keyed_hash(b"0123456789abcdef", 32)


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("192.0.2.77:514", "192.0.2.0:0"),
        ("192.0.2.77:6514 sensor-7.example", "192.0.2.0:0"),
        ("[2001:db8:1:2::3]:514", "[2001:db8:1::]:0"),
        ("[fe80::1%eth0]:514", "[fe80::]:0"),
        ("pid=1,uid=2,gid=3", "pid=1,uid=2,gid=3"),
        ("/var/log/app.log", "/var/log/app.log"),
        ("@abstract", "@abstract"),
        ("", ""),
    ],
)
def test_truncate_keeps_the_network_of_an_address(peer: str, network: str) -> None:
    redact = PeerRedaction("truncate")
    assert redact(Peer(peer)) == network
    assert redact(redact(Peer(peer))) == network


def test_hash_is_that_of_the_sender_whatever_its_port() -> None:
    redact = PeerRedaction("hash", HASH)
    one = redact(Peer("192.0.2.77:1"))
    assert one == redact(Peer("192.0.2.77:2")) == HASH("192.0.2.77")
    assert len(one) == 32
    others = ["192.0.2.78:1", "192.0.2.77:1 sensor-7", "[2001:db8::1]:1", "pid=1,uid=2,gid=3", "/a"]
    assert len({one, *(redact(Peer(other)) for other in others)}) == 1 + len(others)


def test_a_hash_is_hashed_once_so_that_a_replay_does_not_change_it() -> None:
    redact = PeerRedaction("hash", HASH)
    one = redact(Peer("192.0.2.77:1"))
    assert redact(one) == one


def test_drop_leaves_nothing_and_no_sender_is_counted() -> None:
    redact = PeerRedaction("drop")
    assert redact(Peer("192.0.2.77:1")) == "" == redact(Peer("/a"))
    count = RuleCount()
    count.sent_by([redact(Peer("192.0.2.77:1")).plain])
    assert count.senders == {}


def test_the_quality_of_senders_is_counted_by_what_is_left_of_them() -> None:
    count = RuleCount()
    hashed = PeerRedaction("hash", HASH)(Peer("192.0.2.77:1"))
    count.sent_by([PeerRedaction("truncate")(Peer("192.0.2.77:1")).plain, hashed.plain])
    assert count.senders == {"192.0.2.0": 1, hashed.plain: 1}


def test_two_are_equal_if_they_have_one_rule_and_one_key() -> None:
    other = keyed_hash(b"0123456789abcdeg", 32)
    kinds = [PeerRedaction("truncate"), PeerRedaction("drop"), PeerRedaction("hash", HASH)]
    assert len({*kinds, PeerRedaction("hash", other)}) == 4
    again = [PeerRedaction("truncate"), PeerRedaction("drop"), PeerRedaction("hash", HASH)]
    assert again == kinds
    assert kinds[0] != "truncate"


def test_one_object_for_each_sender_until_the_cache_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_redaction, "MAX_PEERS", 3)
    made: list[str] = []

    def hash_text(text: str) -> str:
        made.append(text)
        return text[::-1]

    redact = PeerRedaction("hash", hash_text)
    made.clear()
    for _ in range(2):
        for n in range(3):
            redact(Peer(f"10.0.0.{n}:1"))
    assert made == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]
    redact(Peer("10.0.0.9:1"))
    redact(Peer("10.0.0.1:1"))
    assert made == ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.9", "10.0.0.1"]
