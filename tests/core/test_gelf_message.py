from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.errors import BadData
from streamd.core.gelf_message import STANDARD, normalise, time_of, without_underscores

NAMES = st.sampled_from(["", "_", "__", "a", "_a", "__a", "_id", "_host", "__host", "host", "_@peer", "id"])


@given(message=st.dictionaries(NAMES | st.text("_ab", max_size=4), st.integers()))
def test_no_field_gets_the_name_of_another_and_the_standard_ones_keep_theirs(message: dict[str, Any]) -> None:
    record = without_underscores(message)
    assert list(record.values()) == list(message.values())
    for key, name in zip(message, record, strict=True):
        assert name == key or (key == "_" + name and name not in message)
        assert name not in STANDARD or name == key
    assert not {"@peer", "@source", "@flag"} & record.keys()


def test_the_detail_of_a_bad_time_names_the_field() -> None:
    with pytest.raises(BadData, match="timestamp: not an RFC 3339"):
        time_of("x")


def test_standard_fields_get_their_types() -> None:
    message: dict[str, Any] = {"short_message": "m", "level": " 3 ", "version": 1.1, "host": "h"}
    normalise(message)
    assert message == {"short_message": "m", "level": 3, "version": "1.1", "host": "h"}
