import sys
from pathlib import Path

import pytest

from streamd.core.paths import unexpanded, unnameable


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("~/data.db", "~ is not expanded: write {home}/data.db"),
        ("~", "~ is not expanded: write {home}"),
        ("~nobody-of-that-name/x", "~ is not expanded: write the whole path, or ./~ for a file of that name"),
        ("$SHOP/data.db", "variables of the environment are not expanded: write /srv/shop/data.db"),
        ("/srv/${SHOP}", "variables of the environment are not expanded: write /srv//srv/shop"),
        ("/srv/$MISSING/x", "variables of the environment are not expanded: write the whole path"),
        ("./~/data.db", ""),
        ("data~", ""),
        ("price$.db", ""),
        ("/srv/5$/x", ""),
        ("/srv/$1", ""),
        ("data.db", ""),
    ],
)
def test_what_a_shell_would_expand_is_found(path: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of-a-test")
    monkeypatch.setenv("SHOP", "/srv/shop")
    monkeypatch.delenv("MISSING", raising=False)
    assert unexpanded(path) == why.format(home=Path.home())


@pytest.mark.parametrize(
    ("encoding", "path", "bad"),
    [("utf-8", "daten-ä", False), ("UTF8", "ä", False), ("ascii", "ä", True), ("ascii", "a", False)],
)
def test_a_name_beyond_ascii_needs_a_locale(
    encoding: str, path: str, bad: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
    assert unnameable(path) == bad
