import pytest

from streamd.files.rotation import rotated


@pytest.mark.parametrize(
    "older_to_newer",
    [
        ["app.log.10", "app.log.9", "app.log.2.gz", "app.log.1", "app.log.0"],
        ["app.log-20260131", "app.log-20260201.gz", "app.log-20261001"],
        ["app.log.2026-01-31", "app.log.2026-02-01"],
        ["app.log.2026-01-31_23", "app.log.2026-02-01_00"],
        ["app.log.2026-01-31.9", "app.log.2026-01-31.10"],
        ["app.log.000009", "app.log.000010"],
        ["app.log-1769846400", "app.log-1769850000"],
        ["app-20260131.log", "app-20260201.log.xz"],
        ["app.2.log", "app.1.log"],
    ],
)
def test_names_of_one_scheme_are_in_order(older_to_newer: list[str]) -> None:
    said = [rotated(name, "app.log") for name in older_to_newer]
    assert all(said)
    assert len({name.scheme for name in said if name}) == 1
    orders = [name.order for name in said if name]
    assert orders == sorted(orders)
    assert all(name.usual for name in said if name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("node.1", "node-2"),
        ("node.1", "node.20260131"),
        ("node.1", "node.01"),
        ("node-20260131", "node.20260131"),
    ],
)
def test_names_of_different_schemes_are_not_compared(one: str, other: str) -> None:
    first, second = rotated(one, "node"), rotated(other, "node")
    assert first
    assert second
    assert first.scheme != second.scheme


@pytest.mark.parametrize(
    "name",
    ["app.log", "app.log.lock", "app.log~", "app.log.gz", "app.log.1x", "app.log.x1", "app.log1", "applog.1",
     "app.log.1.bak", "xapp.log.1", "app.log.\N{ARABIC-INDIC DIGIT ONE}", "app.log.1\n"],
)  # fmt: skip
def test_names_that_no_rotation_gives_say_nothing(name: str) -> None:
    assert rotated(name, "app.log") is None


def test_a_small_number_behind_a_dash_is_unusual() -> None:
    said = rotated("node-2", "node")
    assert said
    assert not said.usual


def test_a_compressed_name_says_what_it_was_called() -> None:
    said = rotated("app.1.log.gz", "app.log")
    assert said
    assert (said.plain, said.compressed) == ("app.1.log", True)
