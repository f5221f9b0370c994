"""Whether sources can continue from the frames that a stored state contains."""

import json
from typing import Any, cast

import pytest

from streamd.files.position import ReadingProgress
from streamd.runtime.feed import Feed
from streamd.state.inputs import Numbered, cuts_of, inputs_of, misfit


def numbered(position: int, framing: str = "lines", since: int | None = None, name: str = "n") -> Numbered:
    """A source whose remembered position lies behind so many frames."""
    progress = ReadingProgress()
    progress.name, progress.handed_on, progress.framing = name, position, framing
    progress.framing_since = position if since is None else since
    return Numbered("log", progress, cast("Feed", None))


STORED = inputs_of([numbered(50, since=20)], {"n": 50})
CHANGED = "the framing of source log has changed: which frames after number {} it contains is not known"


def test_the_text_names_for_each_source_its_numbering_the_last_frame_and_what_has_cut_it() -> None:
    assert json.loads(STORED) == {"log": ["n", 50, "lines", 20]}
    assert cuts_of(STORED) == {"n": 50}


LOST = "source log cannot continue from it: its remembered position is lost or replaced"


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (numbered(50), ""),
        (numbered(20), ""),
        (numbered(19), CHANGED.format(19)),
        (numbered(50, "texts"), ""),
        (numbered(49, "texts"), CHANGED.format(49)),
        (numbered(51), "the remembered position of source log is ahead of it"),
        (
            numbered(50, name="m"),
            "source log cannot continue from it: its remembered position is lost or replaced",
        ),
    ],
    ids=["at the end", "at the change", "before it", "other, nothing to skip", "other", "ahead", "lost"],
)
def test_a_state_fits_where_frames_that_are_read_again_get_their_numbers_again(
    now: Numbered, why: str
) -> None:
    assert misfit(STORED, [now], {}) == why


def test_a_source_that_is_gone_or_has_no_numbers_is_nothing_to_fit() -> None:
    assert misfit(STORED, [], {}) == ""
    assert misfit("{}", [numbered(1)], {}) == ""


def test_all_states_of_a_group_are_of_one_moment() -> None:
    assert misfit(STORED, [numbered(50)], {"n": 50}) == ""
    assert misfit(STORED, [numbered(50)], {"n": 60}).startswith("it is older than the state of another step")


@pytest.mark.parametrize("inputs", ["x", "[]", '{"log": 1}', '{"log": ["n"]}', '{"log": ["n", 50, "lines"]}'])
def test_a_text_that_names_no_frames_is_no_state_to_continue_from(inputs: Any) -> None:
    assert misfit(inputs, [numbered(50)], {}) == "it does not name the frames it contains"


def test_a_text_of_an_earlier_version_names_no_framing_and_fits_where_nothing_is_skipped() -> None:
    assert misfit('{"log": ["n", 50]}', [numbered(50)], {}) == ""
    assert misfit('{"log": ["n", 50]}', [numbered(49)], {}) == CHANGED.format(49)
