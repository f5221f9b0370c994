import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.text import Text

from streamd.admin.status_answer import StatusAnswer
from streamd.top import live
from streamd.top.feed import News

Make = Callable[..., StatusAnswer]


def test_a_loss_that_is_seen_is_remembered(status: Make, later: Callable[[Any], None]) -> None:
    memory = live.LossMemory()
    assert memory.shown(News(status()), 0).lost_at is None
    assert memory.shown(News(status(later), status()), 0).lost_at is not None
    assert memory.shown(News(status(later), status(later)), 0).lost_at is not None


def test_a_loss_of_before_or_of_another_run_is_not_seen(status: Make, later: Callable[[Any], None]) -> None:
    memory = live.LossMemory()
    assert memory.shown(News(status(later)), 0).lost_at is None
    assert memory.shown(News(status(lambda made: made.update(run_id="b"))), 0).lost_at is None
    assert live.LossMemory().shown(News(fault="why"), 0).fault == "why"


def test_the_age_is_by_the_clock_of_this_process(status: Make) -> None:
    assert live.LossMemory().shown(News(status(), at_mono_s=10.0), 14.5).age_s == 4.5
    assert live.LossMemory().shown(News(status(), at_mono_s=10.0), 9.0).age_s == 0


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("utf-8", "✓ a · b … ▲✕"), ("ascii", "* a - b ... ^x"), ("latin-1", "* a - b ... ^x")],
)
def test_an_encoding_without_the_signs_shows_others(
    encoding: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("COLUMNS", "80")
    live.write([Text("✓ a · b … ▲✕", "bold red"), Text("[bold]no markup[/bold]")])
    out.flush()
    shown = out.buffer.getvalue().decode(encoding).splitlines()
    assert shown == [text, "[bold]no markup[/bold]"]
