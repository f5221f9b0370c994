import pytest

from streamd.anomalies.detector import KeyModel
from streamd.anomalies.persistence import Persistence


def test_enough_of_the_last_values_and_the_newest_must_be_unusual() -> None:
    persistence, model = Persistence.parse("3 of 5"), KeyModel()
    flags: list[bool | None] = [
        None if one is None else bool(one) for one in (1, 1, None, 0, 1, 0, 1, 1, 0, 0, None, 1, 1, 1)
    ]
    persistence.judge([model] * len(flags), flags)
    assert "".join("-" if flag is None else ".!"[flag] for flag in flags) == "..-.!.!!..-!!!"
    assert model.last < 2**5


@pytest.mark.parametrize("text", ["", "3", "3 of", "6 of 5", "0 of 5", "1 of 65", "3 OF 5", "3/5", "-1 of 3"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="of"):
        Persistence.parse(text)
