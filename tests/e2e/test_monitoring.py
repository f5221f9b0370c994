"""The alert rules and the dashboard ask for metrics and labels that there are."""

import json
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "config" / "prometheus-alerts.yml"
DASHBOARD = ROOT / "config" / "grafana-dashboard.json"
ADDED_BY_PROMETHEUS = {"job", "instance"}
ENDINGS = {"_bucket": {"le"}, "_sum": set(), "_count": set()}
NOT_ALWAYS_THERE = {
    "streamd_records_dropped_total",
    "streamd_deliveries_dropped_total",
    "streamd_source_kernel_dropped_total",
    "streamd_sink_wal_pinned_total",
    "streamd_source_certificate_expiry_timestamp_seconds",
    "streamd_queue_full_in_seconds",
}
"""What a daemon that has lost nothing, has no TLS and has no queue that fills, does not serve."""
CONFIG = """
[admin]
listen = "127.0.0.1:0"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
[sources.strangers]
type = "udp"
listen = "127.0.0.1:0"
allow = ["192.0.2.0/24"]
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
max_connections = 1
[pipelines.main]
sources = ["lab", "strangers", "floor"]
steps = [{ type = "filter", where = "value > 1" }]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""
LOSSES = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: streamd_frames_dropped_total{{job="streamd", instance="a", source="new", reason="x"}}
        values: _x20 5x60
      - series: streamd_frames_dropped_total{{job="streamd", instance="a", source="old", reason="x"}}
        values: 100x40 200x40
      - series: up{{job="streamd", instance="a"}}
        values: 1x80
    promql_expr_test:
      - expr: count by (source) (ALERTS{{alertname="StreamdFramesLost"}})
        eval_time: 19m
      - expr: count by (source) (ALERTS{{alertname="StreamdFramesLost"}})
        eval_time: 25m
        exp_samples: [{{labels: '{{source="new"}}', value: 1}}]
      - expr: count by (source) (ALERTS{{alertname="StreamdFramesLost"}})
        eval_time: 35m
      - expr: count by (source) (ALERTS{{alertname="StreamdFramesLost"}})
        eval_time: 45m
        exp_samples: [{{labels: '{{source="old"}}', value: 1}}]
      - expr: count by (source) (ALERTS{{alertname="StreamdFramesLost"}})
        eval_time: 60m
      - expr: ALERTS{{alertname="StreamdDown"}}
        eval_time: 60m
"""
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian package prometheus) is not there"
)
Rule = dict[str, str]


def rules() -> list[Rule]:
    """Of the subset of YAML the file keeps to; any other line is an error."""
    found: list[Rule] = []
    key = ""
    for line in ALERTS.read_text("utf-8").splitlines():
        if (
            not line.strip()
            or line.startswith("#")
            or line.strip() in {"groups:", "rules:", "- name: streamd"}
        ):
            continue
        if begin := re.fullmatch(r"      - alert: (\w+)", line):
            found.append({"alert": begin[1]})
        elif given := re.fullmatch(r" {8,10}(\w+):(?: (>-|\S.*))?", line):
            key = given[1]
            found[-1][key] = "" if given[2] in {None, ">-"} else given[2]
        else:
            assert line.startswith(" " * 10), line
            found[-1][key] += f" {line.strip()}"
    return found


def documented() -> dict[str, set[str]]:
    """Labels by metric, from the table that another test holds to what is served."""
    rows = re.findall(
        r"^\| `(streamd_\w+)` \| ([\w, ]*) ?\|",
        (ROOT / "docs/reference/metrics.md").read_text("utf-8"),
        re.MULTILINE,
    )
    return {name: set(labels.replace(",", " ").split()) for name, labels in rows}


def scraped(daemon: Any) -> dict[str, set[str]]:
    """Labels by metric of the samples a daemon answers with."""
    with urllib.request.urlopen(f"{daemon.admin()}/metrics", timeout=30) as answer:  # noqa: S310 - its own address
        text: str = answer.read().decode()
    return {
        name: set(re.findall(r'(\w+)="', labels))
        for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", text, re.MULTILINE)
    }


def metrics_of(expression: str) -> Iterator[str]:
    yield from re.findall(r"\b((?:streamd|process)_\w+)", expression)


def labels_of(expression: str) -> set[str]:
    """Every label an expression selects, groups or joins by."""
    selected = re.findall(r"\{([^}]*)\}", expression)
    grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
    labels = {name for text in selected for name in re.findall(r"(\w+)\s*[=!]", text)}
    return labels | {name.strip() for text in grouped for name in text.split(",")}


def base(metric: str) -> tuple[str, set[str]]:
    """A histogram's name without the ending of its series, and the labels that the ending adds."""
    for ending, labels in ENDINGS.items():
        if metric.endswith(ending):
            return metric.removesuffix(ending), labels
    return metric, set()


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return found


def annotations() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["annotations"]["list"]
    return found


def expressions() -> dict[str, str]:
    """Every expression by where it stands."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in rules()}
    for panel in panels():
        found |= {f"panel {panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    return found | {f"annotation {given['name']}": given["expr"] for given in annotations()}


@pytest.mark.parametrize("place", expressions())
def test_an_expression_asks_for_documented_metrics_by_labels_they_have(place: str) -> None:
    expression = expressions()[place]
    known = documented()
    labels = set(ADDED_BY_PROMETHEUS)
    for metric in metrics_of(expression):
        name, added = base(metric)
        assert name in known or name.startswith("process_"), metric
        labels |= known.get(name, set()) | added
    assert labels_of(expression) <= labels


def test_a_daemon_serves_what_they_ask_for(start: Callable[..., Any], wait_until: Callable[..., Any]) -> None:
    daemon = start(CONFIG)
    daemon.udp(b'{"value": 2}', b'{"value": "x"}', b"\xff")
    daemon.udp(b"{}", source="strangers")
    with socket.create_connection(daemon.address("floor")) as first:
        with socket.create_connection(daemon.address("floor"), timeout=30) as second:
            assert second.recv(1) == b""
        daemon.wait_rows(1)
        needed = {metric for expression in expressions().values() for metric in metrics_of(expression)}

        def missing() -> set[str]:
            daemon.udp(b'{"value": 2}')  # some are there only while data flows
            return {metric for metric in needed if metric not in scraped(daemon)} - NOT_ALWAYS_THERE

        wait_until(lambda: not missing(), f"metrics that are asked for: {missing()}")
        first.shutdown(socket.SHUT_WR)
    found = scraped(daemon)
    for metric, labels in documented().items():
        if found.get(metric):
            assert labels <= found[metric], metric
    daemon.stop()


def test_a_run_that_was_killed_shows_in_the_next_one(start: Callable[..., Any]) -> None:
    def unclean_runs(daemon: Any) -> float:
        with urllib.request.urlopen(f"{daemon.admin()}/metrics", timeout=30) as answer:  # noqa: S310 - its own address
            found = re.search(r"^streamd_unclean_runs (\S+)", answer.read().decode(), re.MULTILINE)
        assert found
        return float(found[1])

    killed = start(CONFIG)
    assert unclean_runs(killed) == 0
    killed.process.kill()
    killed.process.wait()
    daemon = start(CONFIG)
    assert unclean_runs(daemon) == 1
    daemon.udp(b'{"value": 2}')
    daemon.wait_rows(1)
    daemon.stop()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_says_how_bad_it_is_and_what_to_do(rule: Rule) -> None:
    assert rule["severity"] in {"critical", "warning"}
    assert rule["summary"]
    assert rule["description"].strip()
    named = set(re.findall(r"\$labels\.(\w+)", rule["summary"] + rule["description"]))
    plain = {label for metric in metrics_of(rule["expr"]) for label in documented().get(metric, set())}
    grouped = re.search(r"\bby \(([^)]*)\)", rule["expr"])
    kept = {name.strip() for name in grouped[1].split(",")} if grouped else plain | ADDED_BY_PROMETHEUS
    assert named <= kept


def test_a_dashboard_has_its_panels_beside_each_other_and_on_the_variable_data_source() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


@needs_promtool
def test_prometheus_itself_takes_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_a_first_loss_alerts_and_so_does_a_later_one(tmp_path: Path) -> None:
    test = tmp_path / "test.yml"
    test.write_text(LOSSES.format(rules=ALERTS))
    done = subprocess.run(["promtool", "test", "rules", test], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
