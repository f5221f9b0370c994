"""Prometheus and promtool of Debian take what the daemon serves, and the rules and the dashboard."""

import json
import re
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "config" / "prometheus-alerts.yml"
DASHBOARD = ROOT / "config" / "grafana-dashboard.json"
VARIABLES = {"$__rate_interval": "1m", "$__range": "1h", "$job": "streamd", "$instance": ".*"}
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
[pipelines.main]
sources = ["lab", "strangers"]
steps = [{ type = "filter", where = "value > 1" }]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""
FORETOLD = """
rule_files: [{rules}]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - series: up{{job="streamd", instance="a"}}
        values: 1x80
      - series: streamd_queue_overflow_expected{{job="streamd", instance="a", kind="source", buffer="lab"}}
        values: 0x8 1x8 0x64
      - series: streamd_queue_standing{{job="streamd", instance="a", kind="sink", buffer="brief"}}
        values: 0x8 1x8 0x64
      - series: streamd_queue_standing{{job="streamd", instance="a", kind="sink", buffer="lasting"}}
        values: 0x8 1x72
      - series: streamd_sink_writing_seconds{{job="streamd", instance="a", sink="hung"}}
        values: 0x8 15+15x72
      - series: streamd_sink_writing_seconds{{job="streamd", instance="a", sink="locked"}}
        values: 0x8 15+15x72
      - series: streamd_sink_writing_seconds{{job="streamd", instance="a", sink="slow"}}
        values: 20x80
      - series: streamd_sink_retrying{{job="streamd", instance="a", sink="hung"}}
        values: 0x80
      - series: streamd_sink_retrying{{job="streamd", instance="a", sink="locked"}}
        values: 0x8 1x72
      - series: streamd_loop_lag_seconds{{job="streamd", instance="a"}}
        values: 0.5x80
      - series: streamd_queue_loop_slack_seconds{{job="streamd", instance="a", kind="source", buffer="small"}}
        values: 0.05x80
      - series: streamd_queue_loop_slack_seconds{{job="streamd", instance="a", kind="source", buffer="less"}}
        values: 0.4x80
      - series: streamd_queue_loop_slack_seconds{{job="streamd", instance="a", kind="source", buffer="ample"}}
        values: 0.6x80
    promql_expr_test:
      - expr: count(ALERTS{{alertname="StreamdOverflowExpected"}})
        eval_time: 2m
      - expr: count by (kind, buffer, severity) (ALERTS{{alertname="StreamdOverflowExpected"}})
        eval_time: 3m
        exp_samples: [{{labels: '{{kind="source", buffer="lab", severity="warning"}}', value: 1}}]
      - expr: count(ALERTS{{alertname="StreamdOverflowExpected"}})
        eval_time: 10m
      - expr: count(ALERTS{{alertname="StreamdStandingQueue", alertstate="firing"}})
        eval_time: 6m
      - expr: count by (kind, buffer) (ALERTS{{alertname="StreamdStandingQueue", alertstate="firing"}})
        eval_time: 10m
        exp_samples: [{{labels: '{{kind="sink", buffer="lasting"}}', value: 1}}]
      - expr: count by (sink, severity) (ALERTS{{alertname="StreamdSinkHangs", alertstate="firing"}})
        eval_time: 5m
        exp_samples: [{{labels: '{{sink="hung", severity="critical"}}', value: 1}}]
      - expr: count(ALERTS{{alertname="StreamdSinkHangs"}})
        eval_time: 2m
      - expr: count by (buffer) (ALERTS{{alertname="StreamdLoopSlackSmall", alertstate="firing"}})
        eval_time: 5m
        exp_samples:
          - {{labels: '{{buffer="small"}}', value: 1}}
          - {{labels: '{{buffer="less"}}', value: 1}}
"""


def program(name: str) -> str:
    """The path of a program, or a skip."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} (Debian package prometheus) is not there")
    return found


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - an address of this host
        text: str = answer.read().decode()
    return text


def expressions() -> list[str]:
    """Every expression of the dashboard, its variables filled in."""
    board = json.loads(DASHBOARD.read_text("utf-8"))
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    found += [annotation["expr"] for annotation in board["annotations"]["list"]]
    for name, value in VARIABLES.items():
        found = [expression.replace(name, value) for expression in found]
    assert not any("$" in expression for expression in found)
    return found


@pytest.fixture
def busy(start: Callable[..., Any], wait_until: Callable[..., Any]) -> Any:
    """A daemon with something in each book, and with outlooks."""
    daemon = start(CONFIG)
    daemon.udp(b'{"value": 2}', b'{"value": 0}', b'{"value": "x"}', b"\xff")
    daemon.udp(b"{}", source="strangers")
    daemon.wait_rows(1)
    wait_until(lambda: "streamd_queue_inflow_per_second{" in fetched(f"{daemon.admin()}/metrics"), "outlooks")
    return daemon


def test_promtool_finds_nothing_to_say_about_a_scrape(busy: Any) -> None:
    promtool = program("promtool")
    text = fetched(f"{busy.admin()}/metrics")
    assert 'streamd_frames_dropped_total{reason="not_allowed"' in text
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    busy.stop()


def test_every_expression_of_the_dashboard_is_one(tmp_path: Path) -> None:
    rules = [{"record": f"expression_{n}", "expr": text} for n, text in enumerate(expressions())]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    command = [program("promtool"), "check", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_what_is_foretold_alerts_and_what_passes_does_not(tmp_path: Path) -> None:
    test = tmp_path / "test.yml"
    test.write_text(FORETOLD.format(rules=ALERTS))
    command = [program("promtool"), "test", "rules", str(test)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """A Prometheus with the alert rules that scrapes `target` each second; its address."""
    folder.mkdir()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "streamd", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    address = f"127.0.0.1:{free_port()}"
    command = [program("prometheus"), "--config.file=prometheus.yml", f"--web.listen-address={address}"]
    command += ["--storage.tsdb.path=data", "--log.level=warn"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=folder, stderr=log) as process:
        try:
            yield f"http://{address}"
        finally:
            process.terminate()


def test_prometheus_scrapes_a_daemon(busy: Any, tmp_path: Path, wait_until: Callable[..., Any]) -> None:
    with prometheus(tmp_path / "prometheus", busy.admin().removeprefix("http://")) as address:

        def ask(path: str, **query: str) -> Any:
            try:
                answer = json.loads(fetched(f"{address}/api/v1/{path}?{urllib.parse.urlencode(query)}"))
            except OSError:  # it has not begun to listen
                return None
            assert answer["status"] == "success"
            return answer["data"]

        def queried(expression: str) -> list[dict[str, Any]]:
            data = ask("query", query=expression)
            return [] if data is None else data["result"]

        wait_until(lambda: queried('up{job="streamd"} == 1'), "a scrape")
        assert not queried("scrape_samples_scraped - scrape_samples_post_metric_relabeling != 0")
        (samples,) = queried("scrape_samples_post_metric_relabeling")
        scraped = [line for line in fetched(f"{busy.admin()}/metrics").splitlines() if line[:1] != "#"]
        assert abs(float(samples["value"][1]) - len(scraped)) <= 5  # a series may appear between the two
        places = {
            (found["metric"]["kind"], found["metric"]["buffer"])
            for found in queried("streamd_queue_standing")
        }
        assert places == {("source", "lab"), ("source", "strangers"), ("sink", "records")}
        for expression in expressions():
            queried(expression)
        wait_until(
            lambda: all(
                rule["health"] == "ok" for group in ask("rules")["groups"] for rule in group["rules"]
            ),
            "rules that were evaluated",
        )
        (group,) = ask("rules")["groups"]
        assert len(group["rules"]) == len(re.findall("- alert:", ALERTS.read_text("utf-8")))
    busy.stop()
