import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.logs.line import MAX_LINE_CHARS, console_renderer, render_json, safe, shown_again

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters()) | st.integers() | st.binary(), inner)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(event=st.text(st.characters()), fields=st.dictionaries(st.text(st.characters()), VALUES))
def test_whatever_is_logged_is_one_line_of_strict_json(event: str, fields: dict[str, Any]) -> None:
    line = str(render_json(None, "info", safe(None, "info", {**fields, "event": event})))
    assert line.isprintable()
    assert line.encode("utf-8")
    assert len(line) < 100_000
    parsed = json.loads(line, parse_constant=pytest.fail)
    assert parsed["level"] == "info"
    assert parsed["timestamp"].endswith("Z")


class Unspeakable:
    """Raises whatever is asked of it."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        pytest.param(10**5000, "(integer of 16610 bits)", id="long integer"),
        (2**64 - 1, 2**64 - 1),
        (ValueError("x\n"), "ValueError: x\\n"),
        (Unspeakable(), "(Unspeakable without a text)"),
        (Path("/a\n"), "/a\\n"),
        (b"\xff\x00ok", "\\xff\\x00ok"),
        ([[[[[1]]]]], [[["[…]"]]]),
        ("x" * 2000, "x" * 1024 + "… [976 more]"),
    ],
)
def test_a_value_json_does_not_know_becomes_text(value: Any, shown: Any) -> None:
    assert safe(None, "info", {"event": "e", "value": value})["value"] == shown


def test_a_line_is_bounded_whatever_it_is_given() -> None:
    deep: Any = "x" * 10_000
    for _ in range(4):
        deep = {f"{n}" * 100: deep for n in range(100)}
    line = render_json(None, "info", safe(None, "info", {"event": "e", "value": deep}))
    assert len(str(line)) < 3 * MAX_LINE_CHARS


@pytest.mark.parametrize("colors", [False, True])
@given(
    fields=st.dictionaries(
        st.text(st.characters()) | st.sampled_from(["stack", "exc_info", "logger"]), VALUES
    )
)
def test_whatever_was_read_back_can_be_shown_to_people(colors: bool, fields: dict[str, Any]) -> None:
    event = {**fields, "timestamp": "t", "level": "info", "event": "read_back"}
    shown = str(console_renderer(colors)(None, "", shown_again(event)))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown) if colors else shown
    first, *more = plain.split("\n")
    assert "read_back" in first
    assert all(line.isprintable() for line in [first, *more])
    assert all(line.startswith("    | ") for line in more)


def test_a_traceback_that_was_read_back_stays_below_its_event() -> None:
    event = {"timestamp": "t", "level": "error", "event": "e", "exception": ["one\n", "two", 3]}
    shown = str(console_renderer(colors=False)(None, "", shown_again(event)))
    assert shown.split("\n")[1:] == ["    | one\\n", "    | two"]
