"""The live page in a real browser, on a daemon that has seen records of every fate."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import until
from tests.page.conftest import Shown, whole

TABS = (
    "overview", "books", "quality", "senders", "steps", "dead-letters", "tap", "query", "configuration",
)  # fmt: skip


def without_names(book: dict[str, Any]) -> dict[str, int]:
    return {term: sum(n.values()) if isinstance(n, dict) else n for term, n in book.items()}


def test_every_number_of_the_books_is_that_of_the_status(shown: Shown) -> None:
    shown.tab("books")
    status = shown.status()
    books: dict[str, list[tuple[tuple[str, ...], Any]]] = {
        "frames": [((one["name"],), one["frames"]) for one in status["sources"]],
        "records": [((one["name"], one["source"]), one["records"]) for one in status["pipelines"]],
        "deliveries": [
            ((sink["name"], one["pipeline"], one["source"]), one["records"])
            for sink in status["sinks"]
            for one in sink["deliveries"]
        ],
    }
    owners = {
        "frames": ("source",),
        "records": ("pipeline", "source"),
        "deliveries": ("sink", "pipeline", "source"),
    }
    for unit, expected in books.items():
        rows = shown.rows(f"#panel-books [aria-label='Books of {unit}'] table")
        found = {tuple(row.pop(name) for name in owners[unit]): row for row in rows}
        totals = found.pop(("all", *[""] * (len(owners[unit]) - 1)))
        assert set(found) == {names for names, _ in expected}
        for names, book in expected:
            numbers = {term.replace("_", " "): n for term, n in without_names(book).items()}
            assert {term: whole(text) for term, text in found[names].items()} == {
                term: numbers.get(term, 0) if term != "difference" else 0 for term in found[names]
            }
            hidden = set(numbers) - set(found[names])  # terms that are zero everywhere, and numbers of no sum
            assert {term for term in hidden if numbers[term] and term in TERMS} == set()
        for term, text in totals.items():
            assert whole(text) == sum(whole(row[term]) for row in found.values())
    assert "difference is 0" in shown.page.inner_text("#panel-books .verdict")


TERMS = {
    "received", "decoded", "rejected", "dropped", "held", "waiting", "in", "emitted", "out", "filtered",
    "absorbed", "in flight", "offered", "stored", "unmatched", "pending",
}  # fmt: skip


def test_the_numbers_of_the_overview_are_those_of_the_status(shown: Shown) -> None:
    status = shown.status()
    sums = shown.rows("#panel-overview .card-books table")
    frames = [without_names(one["frames"]) for one in status["sources"]]
    records = [without_names(one["records"]) for one in status["pipelines"]]
    deliveries = [without_names(one["records"]) for sink in status["sinks"] for one in sink["deliveries"]]
    entered = [
        sum(book["received"] for book in frames),
        sum(book["in"] + book.get("emitted", 0) for book in records),
        sum(book["offered"] for book in deliveries),
    ]
    assert [whole(row["in"]) for row in sums] == entered
    assert [whole(row["passed on"]) for row in sums] == [
        sum(book[term] for book in books)
        for books, term in ((frames, "decoded"), (records, "out"), (deliveries, "stored"))
    ]
    assert [whole(row["rejected"]) for row in sums] == [
        sum(book["rejected"] for book in books) for books in (frames, records, deliveries)
    ]
    assert [whole(row["on purpose"]) for row in sums] == [
        0,
        sum(book.get("filtered", 0) for book in records),
        sum(book.get("unmatched", 0) for book in deliveries),
    ]
    assert [row["difference"] for row in sums] == ["0", "0", "0"]
    nodes = shown.page.locator(".node").all_inner_texts()
    assert len(nodes) == len(status["sources"]) + 1 + len(status["sinks"])
    for source in status["sources"]:
        (node,) = [text for text in nodes if text.startswith(f"{source['name']}\n")]
        assert f"of {source['buffer']['max_records']:,}" in node
        rejected = without_names(source["frames"])["rejected"]
        assert (f"{rejected:,} rejected" in node) == bool(rejected)
    assert "40 filtered" in "".join(nodes)


def test_the_measures_of_steps_and_the_stages_are_those_of_the_status(shown: Shown) -> None:
    shown.tab("steps")
    status = shown.status()
    stages = shown.rows("#panel-steps [aria-label='Time of the stages'] table")
    assert [(row["stage"], row["name"], whole(row["in"]), whole(row["out"])) for row in stages] == [
        (one["kind"], one["name"], one["in"], one["out"]) for one in status["stages"]
    ]


def test_everything_works_from_the_keyboard(shown: Shown) -> None:
    page = shown.page
    page.wait_for_selector(".charts canvas >> nth=2")
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "tab-overview":
            break
    assert page.evaluate("document.activeElement.id") == "tab-overview"
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#panel-books")
    page.keyboard.press("End")
    assert page.is_visible("#panel-configuration")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#panel-overview")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "FIGURE":
            break
    until(lambda: page.locator(".legend-value").first.inner_text().endswith("/s"), "two samples")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    said = page.inner_text("#announcer")
    assert "received" in said
    assert "stored" in said
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#announcer") != said


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(shown: Shown, scheme: Any) -> None:
    package = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    page = shown.page
    page.emulate_media(color_scheme=scheme)
    page.evaluate((Path(package.__file__).parent / "axe.min.js").read_text())
    for tab in TABS:
        shown.tab(tab)
        page.wait_for_timeout(300)
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        serious = {
            one["id"]: [node["html"] for node in one["nodes"]]
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        }
        assert serious == {}, (tab, json.dumps(serious, indent=1))


def test_a_phone_shows_one_column_without_scrolling_sideways(shown: Shown) -> None:
    page = shown.page
    page.set_viewport_size({"width": 360, "height": 780})
    for tab in TABS:
        shown.tab(tab)
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, tab


def test_a_choice_of_the_theme_is_kept(shown: Shown) -> None:
    page = shown.page
    page.click("#theme button")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.click("#theme button")
    page.reload()
    page.wait_for_selector("body[data-state=live]")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"


def test_a_hidden_page_draws_nothing(shown: Shown) -> None:
    page = shown.page
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    before = page.inner_text("#run")
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        page.wait_for_timeout(100)
        assert page.inner_text("#run") == before
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    assert page.inner_text("#run") != before
