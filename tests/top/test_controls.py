from streamd.top.columns import COLUMNS
from streamd.top.controls import Controls


def pressed(*keys: str) -> Controls:
    controls = Controls()
    for key in keys:
        controls.press(key)
    return controls


def test_sorting_goes_through_the_columns_and_back_to_the_flow() -> None:
    assert pressed("s").sort == 0
    assert pressed("right", "right").sort == 1
    assert pressed("s", "S").sort is None
    assert pressed("left").sort == len(COLUMNS) - 1
    assert pressed(*"s" * (len(COLUMNS) + 1)).sort is None
    assert pressed("r").reverse
    assert not pressed("r", "r").reverse


def test_a_filter_is_typed_kept_and_cleared() -> None:
    typing = pressed("/", "q", "s", "x", "backspace")
    assert (typing.filter, typing.typing, typing.quit, typing.sort) == ("qs", True, False, None)
    typing.press("left")
    typing.press("enter")
    assert (typing.filter, typing.typing) == ("qs", False)
    typing.press("escape")
    assert typing.filter == ""
    assert pressed("/", "a", "escape").filter == ""
    assert not pressed("/", "a", "escape").typing


def test_pause_scroll_help_and_quit() -> None:
    assert pressed("p").paused
    assert not pressed("p", " ").paused
    assert pressed("j", "down", "k").scroll == 1
    assert pressed("page down", "page up", "k").scroll == 0
    assert pressed("j", "/", "a").scroll == 0
    assert pressed("?").help
    assert not pressed("?", "h").help
    assert not pressed("?", "x").help
    assert pressed("?", "p") == Controls()  # a key that leaves the help does nothing else
    assert pressed("?", "q").quit
    assert pressed("q").quit
    assert pressed("x", "home") == Controls()
