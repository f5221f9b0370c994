import string
import tomllib
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from streamd.config.positions import Positions
from streamd.config.problems import Place

DOCUMENT = r'''# a comment with [brackets] and key = "value"
top = 1
"odd key" = 2            # "with" a = comment

[daemon]
workers = 5
drain.timeout = "5s"
'lit.eral' . "q\u0041" = 3

[sources.lab]
buffer = { max_records = 1, "max_bytes" = "1 ] }", deep = [ { a = 1 }, { b = 2 } ] }
text = """
not = "a key"
[nor.a.table]
two quotes at the end"""""
raw = \'\'\'
also = 'not'\'\'\'
many = [
  1, # [ 2, 3 ]
  "two, ]",

  [ 3,
    4 ], { five = 5 },
]
when = 1979-05-27 07:32:00
after = true

[[step]]
name = "a"
[[step]]
name = "b"
[step.options]
x = 1
[[step.parts]]
y = 2
[[step.parts]]
y = 3
'''.replace("\\'", "'")


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("top",), 2),
        (("odd key",), 3),
        (("daemon",), 5),
        (("daemon", "workers"), 6),
        (("daemon", "drain", "timeout"), 7),
        (("daemon", "drain"), 7),
        (("daemon", "lit.eral", "qA"), 8),
        (("sources",), 10),
        (("sources", "lab", "buffer", "max_bytes"), 11),
        (("sources", "lab", "buffer", "deep", 1, "b"), 11),
        (("sources", "lab", "text"), 12),
        (("sources", "lab", "raw"), 16),
        (("sources", "lab", "many", 0), 19),
        (("sources", "lab", "many", 1), 20),
        (("sources", "lab", "many", 2, 1), 23),
        (("sources", "lab", "many", 3, "five"), 23),
        (("sources", "lab", "when"), 25),
        (("sources", "lab", "after"), 26),
        (("step",), 28),
        (("step", 0, "name"), 29),
        (("step", 1), 30),
        (("step", 1, "name"), 31),
        (("step", 1, "options", "x"), 33),
        (("step", 1, "parts", 0, "y"), 35),
        (("step", 1, "parts", 1, "y"), 37),
    ],
)
def test_every_form_of_a_key_has_its_line(place: Place, line: int) -> None:
    tomllib.loads(DOCUMENT)

    assert Positions(DOCUMENT).line(place) == line
    assert Positions(DOCUMENT.replace("\n", "\r\n")).line(place) == line


def test_a_place_that_is_not_written_has_the_line_of_the_table_around_it() -> None:
    positions = Positions(DOCUMENT)

    assert positions.line(("sources", "lab", "listen")) == 10
    assert positions.line(("step", 1, "parts", 1, "z", "deeper")) == 36
    assert positions.line(("nowhere",)) == 1
    assert Positions("").line(("a", 0)) == 1


def test_a_header_has_the_line_even_where_a_table_inside_came_first() -> None:
    assert Positions("[a.b]\nc = 1\n[a]\nd = 2\n").line(("a",)) == 3


def places(value: Any, place: Place = ()) -> set[Place]:
    found: set[Place] = {place} if place else set()
    if isinstance(value, dict):
        return found.union(*(places(inner, (*place, key)) for key, inner in value.items()))
    if isinstance(value, list):
        return found.union(*(places(inner, (*place, n)) for n, inner in enumerate(value)))
    return found


keys = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6) | st.text(
    string.ascii_letters, min_size=1, max_size=3
)
scalars = (
    st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
    | st.datetimes()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=5))
def test_the_places_found_are_those_the_parser_finds(document: dict[str, Any]) -> None:
    text = tomlkit.dumps(document)

    assert set(Positions(text)._offsets) == places(tomllib.loads(text))
