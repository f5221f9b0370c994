from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from streamd.redaction.truncation import truncated


@given(st.ip_addresses(), st.integers(0, 31), st.integers(0, 127))
def test_a_cut_address_is_the_network_or_shorter(address: object, four: int, six: int) -> None:
    cut = truncated(str(address), four, six)
    assert cut is not None
    network = ip_address(cut)
    prefix = four if network.version == 4 else six
    if network.version == 6 and network.ipv4_mapped is not None:
        prefix = 96 + four
    assert truncated(cut, four, six) == cut
    kept = ip_network(f"{address}/{prefix}", strict=False).network_address
    assert int(network) & int(kept) == int(network)


@given(st.text(alphabet="0123456789abcdef:.[]%/, \n", max_size=30))
def test_no_text_raises_and_what_is_cut_stays(text: str) -> None:
    cut = truncated(text, 24, 48)
    assert cut is None or truncated(cut, 24, 48) == cut


def test_a_text_of_any_length_is_no_work() -> None:
    assert truncated("192.0.2.1," * 10_000, 24, 48) is None
