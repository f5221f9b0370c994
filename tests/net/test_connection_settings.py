"""The part of a listener's limits that one of several processes applies."""

from streamd.net.connection_settings import ConnectionSettings


def test_limits_for_all_senders_are_divided_and_never_zero() -> None:
    settings = ConnectionSettings(
        type="tcp", max_connections=7, max_connections_per_sender=3, max_accept_rate=2
    )
    share = settings.share(4)
    assert (share.max_connections, share.max_accept_rate) == (1, 1)
    assert share.max_connections_per_sender == 3
    assert share.most_connections == 1
    assert ConnectionSettings(type="tcp").share(4).max_accept_rate is None


def test_the_buffer_is_divided_and_still_holds_a_frame() -> None:
    settings = ConnectionSettings(type="tcp", buffer={"max_records": 10, "max_bytes": "100KiB"})
    share = settings.share(4)
    assert (share.buffer.max_records, share.buffer.max_bytes) == (2, settings.max_frame)
