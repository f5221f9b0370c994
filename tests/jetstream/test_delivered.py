import pytest

from streamd.jetstream.delivered import ACK, NAK, WORKING, Delivered, Unacknowledged, delivery_of

FOUND = Delivered(10, 12, 1.7e9, 2, 7)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("$JS.ACK.orders.workers.2.10.12.1700000000000000000.7", FOUND),
        (
            "$JS.ACK.hub.account.orders.workers.2.10.12.1700000000000000000.7.x1",
            FOUND,
        ),
        ("$JS.ACK.orders.workers.2.ten.12.1700000000000000000.7", None),
        ("$JS.ACK.orders", None),
        ("_INBOX.abc", None),
        ("", None),
    ],
)
def test_the_reply_of_a_message_says_which_and_how_often(reply: str, expected: Delivered | None) -> None:
    assert delivery_of(reply) == expected


def test_a_message_that_comes_again_in_work_is_acknowledged_at_its_new_address() -> None:
    messages = Unacknowledged()
    assert messages.take(1, "a")
    assert not messages.take(1, "b")
    assert messages.take(2, "c")
    assert messages.still_working() == [("b", WORKING), ("c", WORKING)]
    messages.settle(1, ACK)
    messages.give_back()
    assert messages.to_send == [("b", ACK), ("c", NAK)]
    assert len(messages) == 0
