import pytest
from pydantic import TypeAdapter, ValidationError

from streamd.core.peer import Peer
from streamd.net import allow
from streamd.net.allow import AllowList, Networks


@pytest.mark.parametrize(
    ("networks", "peer", "may"),
    [
        ([], "203.0.113.9:1", True),
        (["127.0.0.0/8"], "127.3.4.5:1", True),
        (["127.0.0.0/8"], "128.0.0.1:1", False),
        (["192.168.1.7"], "192.168.1.7:65535", True),
        (["192.168.1.7"], "192.168.1.8:1", False),
        (["10.0.0.0/8", "fd00::/8"], "[fd12::1]:514", True),
        (["10.0.0.0/8", "fd00::/8"], "[fe80::1%eth0]:514", False),
        (["fe80::/10"], "[fe80::1%eth0]:514", True),
        (["0.0.0.0/0"], "[::1]:514", False),
        (["10.0.0.0/8"], "10.1.2.3:6514 CN=sensor", True),
    ],
)
def test_who_may_send(networks: list[str], peer: str, may: bool) -> None:
    listed = AllowList(networks)
    assert bool(listed) == bool(networks)
    assert [listed.has(Peer(peer)) for _ in range(2)] == [may, may]


def test_what_is_remembered_of_senders_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allow, "_CACHE_SIZE", 4)
    listed = AllowList(["10.0.0.0/30"])
    for _ in range(2):
        assert [listed.has(Peer(f"10.0.0.{n}:1")) for n in range(12)] == [n < 4 for n in range(12)]
        assert len(listed._known) <= 4


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("10.0.0.0/8", 'write ["10.0.0.0/8"]'),
        ([10], "allow is a list of networks"),
        (["10.0.0.1/8"], 'write "10.0.0.0/8", or "10.0.0.1" for it alone'),
        (["localhost"], '"localhost" is no network or address'),
        (["10.0.0.0/33"], '"10.0.0.0/33" is no network or address'),
    ],
)
def test_what_is_no_list_of_networks_says_what_to_write(value: object, hint: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(Networks).validate_python(value)
    assert hint in str(refused.value)
