import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from streamd import registry
from streamd.admin.metrics import Metrics
from streamd.admin.view import StageGauge
from streamd.admin.watch import Watch
from streamd.config import reference

ROOT = Path(__file__).parents[2]
METRICS_PAGE = ROOT / "docs/reference/metrics.md"


@pytest.fixture
def metrics(world: Any) -> Metrics:
    world.fill_books()
    return Metrics(world.view, Watch(world.view), {"host": 4})


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


def test_the_times_of_a_stage_are_counters_by_state(metrics: Metrics, world: Any) -> None:
    world.view.stages = lambda: [
        StageGauge("step", "main.python[0]", "busy", 11, 10, 8.0, 6.0, 0.5, 1.5, 3),
        StageGauge("sink", "readings", "idle", 10, 9, 8.0, 1.0, 2.0, 5.0),
    ]
    found = samples(metrics.render("")[0].decode())
    step, sink = ("kind=step", "stage=main.python[0]"), ("kind=sink", "stage=readings")
    assert found["streamd_stage_in_total", *step] == 11
    assert found["streamd_stage_out_total", *sink] == 9
    assert found["streamd_stage_batches", *step] == 3
    assert ("streamd_stage_batches", *sink) not in found
    for state, seconds in (("busy", 1.0), ("blocked", 2.0), ("idle", 5.0)):
        assert found["streamd_stage_seconds_total", *sink, f"state={state}"] == seconds


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


PROSE = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", METRICS_PAGE.read_text("utf-8"))


def declared() -> dict[tuple[str, str], set[str]]:
    """The meanings of every counter that a component of the catalogue declares, by kind and name."""
    found: dict[tuple[str, str], set[str]] = {}
    for room, kind in reference.COUNTED_BY.items():
        for name in registry.names(room):
            for counter, meaning in registry.load(room, name).counters.items():
                found.setdefault((kind, counter), set()).add(meaning)
    return found


def of_types() -> set[str]:
    """The counters that the generated reference page has with the type that counts them."""
    return {metric for section in reference.sections() for metric in section.counters}


def declared_gauges() -> dict[str, set[str]]:
    """The meanings of every gauge that a step or source of the catalogue declares, by its metric's name."""
    found: dict[str, set[str]] = {}
    for word, kind in (("step", "steps"), ("source", "sources")):
        for name in registry.names(kind):
            for gauge, meaning in registry.load(kind, name).gauges.items():
                found.setdefault(f"streamd_{word}_{gauge}", set()).add(meaning)
    return found


def test_the_documentation_lists_exactly_the_metrics_that_are_served(world: Any, metrics: Metrics) -> None:
    world.books.frames["lab"].counters.clear()
    for kind, counter in declared():
        counters = {
            "source": world.books.frames["lab"].counters,
            "step": world.books.step("main", "python[0]"),
            "sink": world.books.sink("readings"),
        }[kind]
        counters.add(counter)
    for gauge in declared_gauges():
        _, kind, name = gauge.split("_", 2)
        of_kind = {
            "source": world.books.frames["lab"].counters,
            "step": world.books.step("main", "python[0]"),
        }
        of_kind[kind].set_gauge(name, 1.0)
    served = {
        name
        for name in re.findall(r"^# TYPE (\S+)", metrics.render("")[0].decode(), re.MULTILINE)
        if name.startswith("streamd_")
    }
    listed = set(re.findall(r"^\| `(streamd_[a-z_]+)", METRICS_PAGE.read_text("utf-8"), re.MULTILINE))
    assert listed <= served
    assert served - listed <= of_types()


def test_every_counter_that_a_component_declares_is_documented_with_its_meaning() -> None:
    documented = {
        (kind, counter): meaning
        for kind, counter, meaning in re.findall(
            r"^\| `streamd_(source|step|sink)_(\w+)_total` \| [^|]* \| (.*) \|$", PROSE, re.MULTILINE
        )
    }
    found = declared()
    assert {key: meanings for key, meanings in found.items() if len(meanings) > 1} == {}
    gauges = declared_gauges()
    assert {name: meanings for name, meanings in gauges.items() if len(meanings) > 1} == {}
    assert {f"streamd_{kind}_{counter}_total" for kind, counter in found} | gauges.keys() == of_types()
    assert {
        key: meaning
        for key, (meaning,) in found.items()
        if key in documented and not documented[key].startswith(meaning)
    } == {}


def test_a_gauge_of_a_step_has_its_meaning_its_place_and_its_newest_value(
    world: Any, metrics: Metrics
) -> None:
    step = world.books.step("main", "river[0]")
    step.gauge_meanings |= {"progressive": "how well the model does"}
    for value in (0.5, 0.25):
        step.set_gauge("progressive", value, "Accuracy")
    world.books.step("main", "other[1]").set_gauge("odd", -1.5)
    text = metrics.render("")[0].decode()
    found = samples(text)
    place = ("name=Accuracy", "pipeline=main", "step=river[0]")
    assert found["streamd_step_progressive", *place] == 0.25
    assert found["streamd_step_odd", "pipeline=main", "step=other[1]"] == -1.5
    assert "# HELP streamd_step_progressive how well the model does\n" in text
    assert "# TYPE streamd_step_progressive gauge\n" in text


def test_a_counter_is_a_metric_with_its_meaning_its_place_and_its_reason(world: Any) -> None:
    late = world.books.step("main", "window[0]")
    late.declare({"late": "records behind the window"})
    late.add("late", 3, "closed")
    world.books.step("main", "other[1]").add("odd", 2)
    text = Metrics(world.view, Watch(world.view), {}).render("")[0].decode()
    found = samples(text)
    place = ("pipeline=main", "reason=closed", "step=window[0]")
    assert found["streamd_step_late_total", *place] == 3
    assert found["streamd_step_odd_total", "pipeline=main", "step=other[1]"] == 2
    assert "# HELP streamd_step_late_total records behind the window\n" in text
    assert "# HELP streamd_step_odd_total odd: counted by the step\n" in text
