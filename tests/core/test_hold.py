"""What a step holds settles once: with what becomes of it, or as dropped where the step has lost it."""

import contextvars
import threading

import pytest

from streamd.core.ack import Ack, Status
from streamd.core.hold import Hold, Holding, HoldScope, hold, join_holds
from streamd.core.tenure import InputPart, Tenure


class Sender:
    """Waits for the fate of its frames."""

    def __init__(self) -> None:
        self.told: list[Status] = []
        self.ack = Ack(self.told.append)


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def holding() -> Holding:
    return Holding()


def held(holding: Holding, sender: Sender) -> Hold:
    """A hold from a call that has succeeded, and whose other records are stored by now."""
    with HoldScope(holding, sender.ack):
        made = hold()
    assert made is not None
    sender.ack.settle(Status.DELIVERED)
    assert sender.told == []
    return made


def test_frames_of_which_a_step_holds_something_wait_for_its_fate_and_hear_it_once(
    holding: Holding, sender: Sender
) -> None:
    made = held(holding, sender)
    assert holding.open == {made}
    made.settle(Status.FILTERED)
    assert (sender.told, holding.open) == ([Status.FILTERED], set())
    made.settle(Status.DROPPED)
    assert sender.told == [Status.FILTERED]


def test_several_holds_of_one_call_are_settled_apart(holding: Holding, sender: Sender) -> None:
    with HoldScope(holding, sender.ack):
        one, other = hold(), hold()
    sender.ack.settle(Status.DELIVERED)
    assert one is not None
    assert other is not None
    one.settle(Status.DELIVERED)
    assert sender.told == []
    other.settle(Status.REJECTED)
    assert sender.told == [Status.REJECTED]


def test_a_call_that_holds_nothing_leaves_the_fate_to_its_records(holding: Holding, sender: Sender) -> None:
    with HoldScope(holding, sender.ack):
        pass
    assert sender.told == []
    sender.ack.settle(Status.DELIVERED)
    assert sender.told == [Status.DELIVERED]


def test_what_a_step_has_lost_is_dropped_and_counted(holding: Holding) -> None:
    senders = [Sender() for _ in range(3)]
    first, *_ = [held(holding, sender) for sender in senders]
    first.settle(Status.DELIVERED)
    assert holding.fail() == 2
    assert [sender.told for sender in senders] == [
        [Status.DELIVERED], [Status.DROPPED], [Status.DROPPED],
    ]  # fmt: skip
    assert (holding.fail(), holding.open) == (0, set())


def test_the_holds_of_a_call_that_fails_go_with_its_records(holding: Holding, sender: Sender) -> None:
    def call() -> None:
        with HoldScope(holding, sender.ack):
            hold()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        call()
    assert holding.open == set()
    sender.ack.settle(Status.REJECTED)
    assert sender.told == [Status.REJECTED]


def test_outside_a_call_and_without_anybody_who_waits_there_is_nothing_to_hold(
    holding: Holding, sender: Sender
) -> None:
    assert hold() is None
    with HoldScope(holding, sender.ack):
        assert hold() is not None
    assert hold() is None


def test_a_hold_taken_in_a_thread_touches_no_ack_that_others_settle_meanwhile(
    holding: Holding, sender: Sender
) -> None:
    made: list[Hold | None] = []
    with HoldScope(holding, sender.ack):
        holders = sender.ack._holders
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(lambda: made.append(hold()),))
        thread.start()
        thread.join()
        assert sender.ack._holders == holders
    sender.ack.settle(Status.DELIVERED)
    [one] = made
    assert one is not None
    assert sender.told == []
    one.settle(Status.FILTERED)
    assert sender.told == [Status.FILTERED]


def test_a_record_made_of_what_was_held_answers_for_all_of_it_and_is_the_steps_no_more(
    holding: Holding,
) -> None:
    senders = [Sender() for _ in range(2)]
    behind = Sender()
    ack = join_holds(behind.ack, [held(holding, sender) for sender in senders])
    assert ack is not None
    assert holding.fail() == 0
    assert [sender.told for sender in (*senders, behind)] == [[], [], []]
    ack.settle(Status.REJECTED)
    assert [sender.told for sender in (*senders, behind)] == [[Status.REJECTED]] * 3


def test_without_holds_what_goes_on_has_the_ack_that_it_had(sender: Sender, holding: Holding) -> None:
    assert join_holds(sender.ack, []) is sender.ack
    assert join_holds(None, ()) is None
    ack = join_holds(None, [held(holding, sender)])
    assert ack is not None
    ack.settle(Status.DELIVERED)
    assert sender.told == [Status.DELIVERED]


def test_a_record_made_of_what_was_held_comes_from_the_part_that_completed_it(holding: Holding) -> None:
    origin = InputPart(Tenure("x"), 4)
    ack = join_holds(Ack(lambda _: None, origin), [held(holding, Sender())])
    assert ack is not None
    assert ack.origin == origin
    ack = join_holds(None, [held(holding, Sender())])
    assert ack is not None
    assert ack.origin is None
