"""A daemon that hangs, dies or starts again: the page says so, its figures turn grey, and it comes back."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Daemon, until
from tests.page.conftest import CONFIG, TIMEOUT_MS, Shown, fed


@pytest.fixture
def shown(browser: Any, start_once: Callable[..., Daemon]) -> Iterator[Shown]:
    with browser.new_context() as context:
        context.set_default_timeout(TIMEOUT_MS)
        found = Shown(context.new_page(), start_once(CONFIG))
        found.open()
        yield found


def grey(shown: Shown) -> bool:
    return "grayscale" in str(shown.page.evaluate("getComputedStyle(document.querySelector('main')).filter"))


def test_a_daemon_that_hangs_makes_the_figures_old(shown: Shown) -> None:
    until(lambda: "Healthy" in shown.health(), "the judgement")
    assert not grey(shown)
    shown.daemon.process.send_signal(signal.SIGSTOP)
    try:
        shown.page.wait_for_selector("body[data-state=stale]")
        assert "Stale · no news from the daemon for" in shown.health()
        assert grey(shown)
    finally:
        shown.daemon.process.send_signal(signal.SIGCONT)
    shown.page.wait_for_selector("body[data-state=live]")
    assert not grey(shown)
    shown.daemon.stop()


def test_a_killed_daemon_is_said_and_the_next_run_is_shown(shown: Shown) -> None:
    fed(shown.daemon)
    page = shown.page
    until(lambda: "40 filtered" in page.inner_text("#panel-overview .card-flow"), "the counters")
    address = shown.daemon.admin().removeprefix("http://")
    shown.daemon.process.kill()
    shown.daemon.process.wait()
    page.wait_for_selector("body[data-state=gone]", timeout=10_000)
    assert "The daemon is gone" in shown.health()
    assert page.title() == "✕ streamd"
    assert grey(shown)
    again = Daemon(shown.daemon.folder, CONFIG.replace("127.0.0.1:0", address, 1))
    try:
        again.wait_ready()
        page.wait_for_selector("body[data-state=live]")
        until(
            lambda: "filtered" not in page.inner_text("#panel-overview .card-flow"),
            "the counters of the new run",
        )
        assert "Healthy" in shown.health()
        again.stop()
    finally:
        again.process.kill()
        again.process.wait()
