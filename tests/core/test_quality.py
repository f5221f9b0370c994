from hypothesis import given
from hypothesis import strategies as st

from streamd.core.quality import MAX_SENDERS, Quality, RuleCount, RuleKey

KEY = RuleKey("lab", "main", "there", "temp")


def test_counts_are_taken_once_and_given_back_if_they_could_not_be_written() -> None:
    quality = Quality()
    assert not quality
    quality.of(*KEY).checked += 5
    quality.of(*KEY).letter = 3
    taken = quality.take()
    assert taken[KEY].checked == 5
    assert not quality
    quality.of(*KEY).checked += 2
    quality.give_back(taken)
    again = quality.take()[KEY]
    assert (again.checked, again.letter) == (7, 3)


def test_objects_from_before_are_known_to_be_of_no_use() -> None:
    quality = Quality()
    numbers = [quality.taken]
    taken = quality.take()
    numbers.append(quality.taken)
    quality.give_back(taken)
    numbers.append(quality.taken)
    assert len(set(numbers)) == 3


def test_a_sender_is_its_host_whatever_its_port() -> None:
    count = RuleCount()
    count.sent_by(["10.0.0.1:1", "10.0.0.1:2", "[::1]:5", "pid=1,uid=2,gid=3", None, "/a/file:1"])
    assert count.senders == {"10.0.0.1": 2, "[::1]": 1, "pid=1,uid=2,gid=3": 1, "/a/file:1": 1}


def test_the_senders_with_most_failures_of_a_batch_are_counted() -> None:
    count = RuleCount()
    peers = [f"10.0.{n}.1:{port}" for n in range(20) for port in range(n + 1)]
    count.sent_by([*peers, "10.0.0.1:9"])
    assert count.senders == {f"10.0.{n}.1": n + 1 for n in range(4, 20)}


@given(st.lists(st.integers(0, 300), max_size=600))
def test_the_senders_are_bounded_and_a_large_share_is_never_lost(others: list[int]) -> None:
    count = RuleCount()
    for n in others:
        count.sent_by([f"10.1.{n // 256}.{n % 256}:1", "10.0.0.9:7"])
    assert len(count.senders) <= MAX_SENDERS
    if len(others) > 1:
        assert count.senders.most_common(1)[0][1] >= len(others)
        assert count.senders["10.0.0.9"] >= len(others)


def test_the_longest_lag_stays() -> None:
    one, other = RuleCount(), RuleCount()
    for lag_s in (None, 2.0, 1.0):
        one.note_lag(lag_s)
    other.add(one)
    assert other.lag_s == 2.0
