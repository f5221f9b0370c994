"""The token of the page: it comes in the fragment or in the form, and parts without it say so."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Daemon, until
from tests.page.conftest import TIMEOUT_MS, Shown


@pytest.fixture
def shown(browser: Any, daemon: Daemon) -> Iterator[Shown]:
    with browser.new_context() as context:
        context.set_default_timeout(TIMEOUT_MS)
        yield Shown(context.new_page(), daemon)


def test_without_the_token_the_figures_show_but_no_data(shown: Shown) -> None:
    shown.open(token="")
    until(lambda: "Healthy" in shown.health(), "the judgement")
    shown.tab("tap")
    shown.page.wait_for_selector("#panel-tap :text('Only with the token')")
    assert shown.page.locator("#panel-tap option").count() == 0
    shown.page.click("#panel-tap button:text('Enter the token')")
    shown.page.keyboard.type(shown.token)
    shown.page.keyboard.press("Enter")
    shown.page.wait_for_selector("#panel-tap option", state="attached")
    assert not shown.page.is_visible("#access form")


def test_a_wrong_token_is_said(shown: Shown) -> None:
    shown.open(token="x" * 30)
    shown.tab("tap")
    shown.page.wait_for_selector("#panel-tap :text('The token is wrong')")


def test_the_token_stays_in_its_tab_and_out_of_the_address(shown: Shown) -> None:
    shown.open()
    page = shown.page
    assert page.url == f"{shown.daemon.admin()}/"
    assert page.evaluate("Object.values(sessionStorage)") == [shown.token]
    assert page.evaluate("[...Object.values(localStorage), document.cookie].join()") == ""
    page.reload()
    shown.tab("tap")
    page.wait_for_selector("#panel-tap option", state="attached")
