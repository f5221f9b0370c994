"""What a newcomer reads where the test of a component does not say what the suites need."""

import pytest
from pydantic import Field

from streamd import registry
from streamd.core.settings import Address, DurationS, SinkSettings
from tests import declared


class Config(SinkSettings):
    path: str = Field(description="any text will do")
    to: Address = Field(alias="address", description="any address will do")
    every: DurationS = Field(description="no guess will do")


class Sink:
    Config = Config


def test_an_option_that_nobody_can_guess_is_asked_for_in_the_test_of_the_component(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "load", lambda *_: Sink)
    with pytest.raises(AssertionError) as failed:
        declared.options_of("sinks", "new")
    assert str(failed.value).splitlines()[0] == (
        "sinks/new.py requires every: give an example in tests/sinks/test_new.py, "
        "like OPTIONS = [{'every': ...}]"
    )
    assert declared.least(Config) == {"path": "path", "address": "127.0.0.1:0"}


def test_what_a_test_declares_is_found_and_a_component_without_a_test_declares_nothing() -> None:
    assert declared.declared("sinks", "stdout", "REFUSALS", None) == {}
    assert declared.declared("sinks", "stdout", "PIECES", [b"x"]) == [b"x"]
    assert declared.declared("sinks", "of_another_package", "REFUSALS", None) is None
