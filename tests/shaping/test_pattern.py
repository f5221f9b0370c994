import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.shaping.pattern import MAX_TEXT_CHARS, MIN_TEXT_CHARS, Pattern

APACHE = (
    r'(?P<ip>\S+) (?P<id>\S+) (?P<user>\S+) \[(?P<at>[^\]]+)\] "(?P<method>\w+) (?P<path>\S+) [^"]*"'
    r" (?P<status>\d{3}) (?P<size>\d+|-)(?P<rest>.*)$"
)
MOST_S = 2.0
"""CPU time, twenty times the promised 0.1 s."""


@pytest.mark.parametrize(
    "text",
    [
        r"(?P<a>\d+)",
        r"(?P<key>\w+)=(?P<value>.*)",
        r'(?P<a>(?:[^"\\]|\\.)*)"',
        r"(?P<host>(?:\w+\.)+)x",
        r"(?P<ip>(?:\d{1,3}\.){3}\d{1,3})\b",
        r"(?P<a>(a|ab)*)c",  # after ab there is always another character than after a
        r"(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?) (?P<message>.*)",
        r"(?P<a>(?:a++)+)b",
        r"(?P<a>(?>a+b?)+)c",
        r"(?P<a>\S+)\s+(?P<b>\S+)",
        r"(?P<a>\D+)(?P<b>\d+)$",
        r"(?i)(?P<a>[a-m]+)[n-z]",
        r"(?P<a>é+)x(?P<b>.)",
        r"(?P<a>[^é]+)é",
    ],
)
def test_a_pattern_without_choices_may_be_matched_with_any_text(text: str) -> None:
    assert Pattern(text).longest >= 900_000


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        (r".*?level=(?P<level>\w+)", 1500, 2500),
        (r"(?P<a>.*),(?P<b>.*)", 1500, 2500),
        (APACHE, 1500, 2500),
        (r"(?P<a>.*) (?P<b>.*) (?P<c>.*)", 100, 250),
        (r"(?i)(?P<a>[a-m]+)[K](?P<b>\w+)", 1500, 2500),
        (r"(?P<a>\w+)(?=.*x)(?P<b>.)", 1000, 2500),
        (r"(?P<a>[^é]+)[ü-ƒ]+", 1500, 2500),
        (r"(?P<a>\W+)\x20(?P<b>.*)", 1500, 2500),
        (r"(?a)(?P<a>\W+)é(?P<b>.*)", 1500, 2500),
        (r"(?P<a>.+)(?P=a)x", 1000, 2500),
    ],
)
def test_repetitions_that_share_characters_bound_the_text(text: str, least: int, most: int) -> None:
    assert least <= Pattern(text).longest <= most


@pytest.mark.parametrize(
    "text",
    [
        r"(?P<a>(a+)+)b",
        r"(?P<a>(a|a)*)b",
        r"(?P<a>(a|aa)+)b",
        r"(?P<a>(.*,)*)x",
        r"(?P<a>(\w+\s?)*)$",
        r"(?P<a>([a-z]+)*)X",
        r"(?i)(?P<a>(?:ab|AB)+)c",
        r"(?P<a>(?:\s*\d+\s*,?)*)$",
        r"(?P<a>(?:(?:a|b)+c?)+)d",
        r"(?P<a>(?:a{2,3})+)b",
        r"(?P<a>(?>(?:a+)+b))",
        r"(?P<a>x)(?=(?:a+)+b)",
        r"(?P<a>([a-zA-Z0-9])(([\-.]|[_]+)?([a-zA-Z0-9]+))*(@)[a-z0-9]+)",
    ],
)
def test_a_choice_inside_a_repetition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="may take exponential time"):
        Pattern(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (r"(?P<a>(a*)*)b", "can be empty"),
        (r"(?P<a>(x?x?)*)y", "can be empty"),
        (r".*.*.*.*(?P<a>x)", "may take too long"),
        (r"(?P<a>(?:a{1,900}){1,900})b", "in too many ways"),
        (r"(?P<a>(?:a?){60}a{60})", "in too many ways"),
        (r"\d+", "no named group"),
        (r"(\d+)", "no named group"),
        (r"(?P<a>\d+", "no regular expression: missing \\)"),
        (r"(?P<a>" + "x" * 4096 + ")", "at most 4096 characters"),
        ("(" * 2000 + "?P<a>" + ")" * 2000, "no regular expression"),
    ],
)
def test_other_refusals(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pattern(text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(?P<a>.*)1(?P<b>\d*)x", "1"),
        (r"(?P<a>.*?)(?P<b>\d+)x", "1"),
        (r"(?P<a>.*) (?P<b>.*) (?P<c>.*)x", " "),
        (r"(?P<a>(?:\w+\.)+.*)x", "a."),
        (r"(?P<a>(?:\w|\s)+.*)x", "a "),
        (r"(?P<a>(?:\d+,)*)x", "1,"),
        (APACHE, "1 "),
    ],
)
def test_the_longest_text_takes_a_bounded_time(pattern: str, text: str) -> None:
    compiled = Pattern(pattern)
    longest = (text * compiled.longest)[: compiled.longest]
    begin = time.thread_time()
    compiled.match(longest)
    assert time.thread_time() - begin < MOST_S


PARTS = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w", r"\s", r"\b", "ab", "$"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "*?", "+?", "++"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
        inner.map(lambda part: f"(?={part})"),
    ),
    max_leaves=6,
)


@settings(max_examples=150)
@given(part=PARTS, text=st.text(st.sampled_from("ab "), min_size=1, max_size=3), end=st.sampled_from("ac "))
def test_whatever_is_accepted_takes_a_bounded_time(part: str, text: str, end: str) -> None:
    try:
        compiled = Pattern(f"(?P<x>{part})c")
    except ValueError:
        return
    assert MIN_TEXT_CHARS <= compiled.longest <= MAX_TEXT_CHARS
    length = min(compiled.longest, 20_000)
    hostile = (text * length)[: length - 1] + end
    begin = time.thread_time()
    compiled.match(hostile)
    assert time.thread_time() - begin < MOST_S


@pytest.mark.parametrize("text", ["a*", "a*a*b?", "(?:a|b)*c?", "a+a+a+"])
def test_a_pattern_of_the_whole_text_stays_within_twice_its_steps(text: str) -> None:
    pattern = Pattern(text, whole=True)
    bad = "a" * min(pattern.longest - 1, 20_000) + "!"
    began_s = time.thread_time()
    assert pattern.match(bad) is None
    assert time.thread_time() - began_s < MOST_S
    assert pattern.match("a" * 5) is not None
    assert pattern.match("a" * 5 + "\n") is None
