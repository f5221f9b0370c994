from streamd.cli.doctor.ports import judge

FAULT = "source lab: cannot listen on 127.0.0.1:9999: Address already in use"


def test_a_port_in_strange_hands_is_a_problem_with_the_way_to_find_them() -> None:
    finding = judge("sources.lab", "udp [::1]:9999", "other", FAULT)
    assert (finding.severity, finding.text) == ("problem", FAULT)
    assert finding.paste == ("ss -lnptu 'sport = :9999'",)


def test_free_and_held_by_our_own_is_fine() -> None:
    assert judge("sources.lab", "udp 127.0.0.1:9999", "nobody", None).text.endswith("is free")
    for holder, word in (("daemon", "running daemon"), ("socket_unit", "streamd.socket")):
        finding = judge("sources.lab", "udp 127.0.0.1:9999", holder, FAULT)  # type: ignore[arg-type]  # a loop's words are plain texts
        assert finding.severity == "fine"
        assert word in finding.text
