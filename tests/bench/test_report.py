import json

from streamd.bench import report
from streamd.bench.row import Row

ROWS = [
    Row(name="tcp_typed", what="TCP → table", value=4.684, unit="CPU s/M", note="medians of 3", baseline=3.9,
        baseline_what="executemany", goal="ratio ≤ 1.3", reached=True),
    Row(name="udp_highest", what="UDP, highest", value=175_000, unit="datagrams/s"),
    Row(name="start", what="Start", value=0.6, unit="s", goal="< 0.5 s", reached=False),
]  # fmt: skip


def test_the_table_says_plainly_what_was_reached_and_what_was_not() -> None:
    assert report.HEAD == ("What", "Figure", "Baseline", "Ratio", "Goal", "Reached")
    assert report.table(ROWS) == [
        ("TCP → table", "4.68 CPU s/M", "3.90 CPU s/M", "1.20", "ratio ≤ 1.3", "yes"),
        ("UDP, highest", "175,000 datagrams/s", "", "", "", ""),
        ("Start", "0.60 s", "", "", "< 0.5 s", "NO"),
    ]
    assert report.notes(ROWS) == ["tcp_typed: medians of 3; baseline: executemany"]


def test_markdown_has_the_same_cells() -> None:
    lines = report.markdown(ROWS).splitlines()
    assert lines[1] == "| --- | --- | --- | --- | --- | --- |"
    assert lines[2] == "| TCP → table | 4.68 CPU s/M | 3.90 CPU s/M | 1.20 | ratio ≤ 1.3 | yes |"
    assert "- `tcp_typed`: medians of 3; baseline: executemany" in lines


def test_the_document_is_json_with_every_figure() -> None:
    found = json.loads(json.dumps(report.document(ROWS, {"cores": 2}, "2026-01-31T08:00:00Z", quick=False)))
    assert found["machine"] == {"cores": 2}
    assert found["rows"][0]["value"] == 4.684
    assert round(found["rows"][0]["ratio"], 2) == 1.2
    assert found["rows"][1]["ratio"] is None
