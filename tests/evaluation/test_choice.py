from tests.evaluation.choice import Candidate, best
from tests.evaluation.events import Outcome


def outcome(found: int, false_alarms: int, events: int = 4) -> Outcome:
    return Outcome(events, (0,) * found, false_alarms, 10, 100, 90)


def chosen(*tried: tuple[str, int, Outcome]) -> str:
    """Of names, each with the width of its band and its outcome."""
    outcomes = {name: found for name, _, found in tried}
    return best([Candidate(name, width) for name, width, _ in tried], outcomes.__getitem__)


def test_the_highest_f1_is_chosen_if_there_are_events() -> None:
    assert (
        chosen(("quiet", 2, outcome(1, 0)), ("good", 1, outcome(3, 1)), ("loud", 0, outcome(4, 9))) == "good"
    )


def test_of_equal_f1_the_fewest_false_alarms() -> None:
    # F1 = 2 found / (found + events + false alarms): 4/8 and 8/16.
    assert chosen(("loud", 0, outcome(4, 8)), ("quiet", 0, outcome(2, 2))) == "quiet"


def test_of_equal_outcomes_the_widest_band_and_then_the_first() -> None:
    same = outcome(3, 1)
    assert chosen(("a", 0, same), ("b", 2, same), ("c", 2, same), ("d", 1, same)) == "b"


def test_without_events_the_fewest_false_alarms_and_then_the_narrowest_band() -> None:
    def none(false_alarms: int) -> Outcome:
        return outcome(0, false_alarms, 0)

    assert chosen(("loud", 0, none(3)), ("b", 1, none(0)), ("c", 1, none(0)), ("d", 2, none(0))) == "b"
    assert chosen(("a", 0, none(3)), ("b", 1, none(2))) == "b"


def test_if_nothing_finds_an_event_the_quietest_is_chosen() -> None:
    assert chosen(("a", 0, outcome(0, 3)), ("b", 1, outcome(0, 0)), ("c", 2, outcome(0, 0))) == "c"
