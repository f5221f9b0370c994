import pytest

from streamd.host.doctor.kernel_drops import drops_by_port, judge, judge_host, receive_buffer_errors

UDP = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode ref drops
  100: 0100007F:270F 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 4711 2 0000000000000000 188
  101: 00000000:0202 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 4712 2 0000000000000000 0
  100: 00000000000000000000000001000000:270F 00000000000000000000000000000000:0000 07 0:0 00:0 0 0 0 47 2 0 12
"""
SNMP = "Tcp: A B\nTcp: 1 2\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 9 8 7 6 5\n"


def test_the_drops_of_a_port_are_those_of_all_its_sockets() -> None:
    assert drops_by_port(UDP) == {9999: 200, 514: 0}


def test_the_count_of_the_host_is_found_by_its_name() -> None:
    assert receive_buffer_errors(SNMP) == 5


@pytest.mark.parametrize(
    "text", ["", "Udp: RcvbufErrors\n", "Udp: RcvbufErrors\nUdp: x\n", "Udp: A\nUdp: 1\n"]
)
def test_a_host_that_says_nothing_of_it_is_not_called_free_of_drops(text: str) -> None:
    assert receive_buffer_errors(text) is None


def test_drops_at_our_port_are_a_problem_and_elsewhere_advice() -> None:
    assert judge("lab", 9999, 188).severity == "problem"
    assert judge("lab", 9999, 0).severity == "fine"
    assert judge_host(5).severity == "advice"
    assert judge_host(0).severity == "fine"
