import pytest

from streamd.core.peer import Peer


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("10.0.0.1:5", "10.0.0.1"),
        ("[fe80::1%eth0]:5", "[fe80::1%eth0]"),
        ("10.0.0.1:5 a name: of a certificate", "10.0.0.1"),
        ("pid=1,uid=2,gid=3", ""),
        ("/var/log/a:b.log", ""),
        ("@abstract:name", ""),
        ("generate", ""),
        ("", ""),
    ],
)
def test_the_host_is_that_of_a_network_peer(text: str, host: str) -> None:
    assert Peer(text).host == host


def test_a_peer_is_its_text() -> None:
    peer = Peer("10.0.0.1:5")
    assert peer == "10.0.0.1:5"
    assert hash(peer) == hash("10.0.0.1:5")
    assert type(peer.plain) is str
    assert type(Peer(peer).plain) is str
