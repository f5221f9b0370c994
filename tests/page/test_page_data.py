"""What the page shows of records: as text, whatever they contain, and without an error."""

from tests.e2e.conftest import until
from tests.page.conftest import Shown


def test_a_tap_shows_records_as_text_until_it_is_stopped(shown: Shown) -> None:
    page = shown.page
    shown.tab("tap")
    page.wait_for_selector("#panel-tap option", state="attached")
    page.select_option("#panel-tap select", "source:floor")
    page.click("#panel-tap button[type=submit]")
    page.wait_for_selector("#panel-tap button:text('Stop')")
    for _ in range(100):  # the tap is open a moment after the button
        shown.daemon.tcp(b'{"sensor":"<i>","value":1}\n')
        if page.locator("#panel-tap .records li").count():
            break
        page.wait_for_timeout(100)
    assert '"sensor":"<i>"' in page.locator("#panel-tap .records code").first.inner_text()
    page.click("#panel-tap button[type=submit]")
    page.wait_for_selector("#panel-tap button:text('Start')")
    assert "stopped" in page.inner_text("#panel-tap .note")
    assert page.locator("main i").count() == 0


TABS = (
    "overview", "books", "quality", "senders", "steps", "dead-letters", "tap", "query", "configuration",
)  # fmt: skip


def test_the_page_opens_without_an_error_and_asks_no_other_host(shown: Shown) -> None:
    until(lambda: "Healthy" in shown.health(), "the judgement")
    assert "nothing lost since" in shown.health()
    for tab in TABS:
        shown.tab(tab)
        shown.page.wait_for_timeout(300)
    assert shown.errors == []
    assert shown.hosts == {shown.daemon.admin().removeprefix("http://")}
    assert (
        shown.page.url == f"{shown.daemon.admin()}/#configuration"
    )  # the token is not in the address any more


def test_a_hostile_record_shows_as_text(shown: Shown) -> None:
    page = shown.page
    text = '"<img src=x onerror=document.title=1>"'
    shown.tab("dead-letters")
    page.wait_for_selector("#panel-dead-letters tbody tr")
    assert text in page.inner_text("#panel-dead-letters table")
    page.click("#panel-dead-letters tbody tr:has-text('onerror') button")
    page.wait_for_selector(".letter pre")
    assert page.inner_text(".letter pre").startswith('{"sensor":"<img src=x')
    shown.tab("query")
    page.fill("#panel-query textarea", "select sensor, value from readings where value like '%script%'")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#panel-query tbody tr")
    assert (
        page.inner_text("#panel-query tbody tr") == "<img src=x onerror=document.title=1>\t<script>1</script>"
    )
    assert page.locator("main img, main script").count() == 0
    assert page.title() == "streamd"
    assert shown.errors == []


def test_a_query_has_a_plot_and_its_mistakes_are_said(shown: Shown) -> None:
    page = shown.page
    shown.tab("query")
    page.fill("#panel-query textarea", "select rowid, value from readings where typeof(value) = 'real'")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#panel-query figure canvas")
    assert page.get_attribute("#panel-query figure", "role") == "figure"
    page.fill("#panel-query textarea", "delete from readings")
    page.keyboard.press("Control+Enter")
    until(lambda: "refused" in page.inner_text("#panel-query [role=status]"), "the refusal")
    assert page.locator("#panel-query tbody tr:visible").count() == 0
    assert not page.is_visible("#panel-query figure")
    assert shown.daemon.query("SELECT count(*) FROM readings") != [(0,)]
