import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from streamd.admin.lag import LoopLag
from streamd.admin.metrics import Metrics
from streamd.admin.readiness import Readiness
from streamd.core.books import SUMS

ROOT = Path(__file__).parents[2]
METRICS_PAGE = ROOT / "docs/reference/metrics.md"


@pytest.fixture
def metrics(world: Any) -> Metrics:
    world.fill_books()
    lag = LoopLag(world.clock)
    return Metrics(world.view, Readiness(world.view, lag), lag, {"host": 4})


def samples(text: str, parse: Any = parse_text) -> dict[tuple[str, ...], float]:
    """{(name, label=value, …): value} of all samples."""
    return {
        (
            sample.name,
            *sorted(f"{name}={value}" for name, value in sample.labels.items() if value),
        ): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def test_prometheus_reads_the_books_to_the_record(metrics: Metrics, world: Any) -> None:
    body, content_type = metrics.render("")
    found = samples(body.decode())
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    place = ("pipeline=main", "sink=readings", "source=lab")
    assert found["streamd_frames_received_total", "source=lab"] == 1000
    assert found["streamd_frames_rejected_total", "reason=json:syntax", "source=lab"] == 40
    assert found["streamd_frames_waiting", "source=lab"] == 10
    assert found["streamd_source_kernel_dropped_total", "source=lab"] == 7
    assert found["streamd_records_rejected_total", "pipeline=main", "source=lab", "stage=calibrate"] == 2
    assert found["streamd_records_in_flight", "pipeline=main", "source=lab"] == 19
    assert found["streamd_deliveries_stored_total", *place] == 700
    assert found["streamd_deliveries_pending", *place] == 65
    assert found["streamd_buffer_records", "buffer=readings", "kind=sink"] == 60
    assert found["streamd_commit_latency_seconds_bucket", "le=0.1", "sink=readings"] == 700
    assert found["streamd_commit_latency_seconds_bucket", "le=+Inf", "sink=readings"] == 700
    assert found["streamd_commit_latency_seconds_count", "sink=readings"] == 700
    assert found["streamd_sink_extra_dropped_total", "sink=readings"] == 4
    assert found["streamd_dead_letters_total", "fate=kept"] == 2
    assert found["streamd_admin_refused_total", "reason=host"] == 4
    assert found[("streamd_ready",)] == 1
    assert world.refreshed == 1


def test_scraping_again_counts_nothing_twice(metrics: Metrics) -> None:
    first, again = (samples(metrics.render("")[0].decode()) for _ in range(2))
    ours = {key: value for key, value in first.items() if key[0].startswith("streamd_")}
    assert ours == {key: value for key, value in again.items() if key[0].startswith("streamd_")}


def test_openmetrics_is_served_to_who_asks_for_it(metrics: Metrics) -> None:
    body, content_type = metrics.render("application/openmetrics-text;version=1.0.0;q=0.75,text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert samples(body.decode(), parse_openmetrics)["streamd_frames_received_total", "source=lab"] == 1000


@pytest.mark.parametrize(
    "accept", ["\x00", "application/openmetrics-text; version=9e999", "text/plain;version=x" * 99]
)
def test_no_accept_header_breaks_it(metrics: Metrics, accept: str) -> None:
    body, content_type = metrics.render(accept)
    assert body
    assert "9e999" not in content_type


def test_names_with_quotes_and_line_ends_stay_within_their_label(world: Any, metrics: Metrics) -> None:
    name = 'a"b\\c\nstreamd_forged_total 1'
    world.books.source(name).received = 5
    found = samples(metrics.render("")[0].decode())
    assert found["streamd_frames_received_total", f"source={name}"] == 5
    assert ("streamd_forged_total",) not in found


def test_the_documentation_lists_exactly_the_metrics_that_are_served(world: Any, metrics: Metrics) -> None:
    files = [
        file
        for floor in ("sinks", "sqlite", "files", "net", "encoding")
        for file in (ROOT / "streamd" / floor).glob("*.py")
    ]
    for file in files:
        noted = re.findall(r'notes\["([a-z_]+)"\]', file.read_text("utf-8"))
        world.sinks[0].notes.update(dict.fromkeys(noted, 1))
    served = {
        name
        for name in re.findall(r"^# TYPE (\S+)", metrics.render("")[0].decode(), re.MULTILINE)
        if name.startswith("streamd_")
    }
    assert set(re.findall(r"`(streamd_[a-z_]+)", METRICS_PAGE.read_text("utf-8"))) == served


def test_every_count_a_component_keeps_is_documented_as_a_metric() -> None:
    noted = {
        name
        for floor in ("framing", "codecs", "sources", "net", "files", "runtime")
        for file in (ROOT / "streamd" / floor).glob("*.py")
        for name in re.findall(r'\.(?:note|count)\(\s*"([a-z_]+)"', file.read_text("utf-8"))
    }
    documented = set(re.findall(r"`streamd_source_([a-z_]+)_total`", METRICS_PAGE.read_text("utf-8")))
    assert noted
    assert noted <= documented


def test_the_page_says_of_each_term_of_the_books_what_its_help_says() -> None:
    page = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", METRICS_PAGE.read_text("utf-8"))
    missing = [
        row
        for book in SUMS
        for term in book.terms
        if (
            row := f"| `streamd_{book.unit}_{term.name}"
            f"{'' if term.side == 'left' or term.gauge else '_total'}`"
            f" | {', '.join(filter(None, (*book.keys, term.by)))} | {term.meaning} |"
        )
        not in page
    ]
    assert missing == []
