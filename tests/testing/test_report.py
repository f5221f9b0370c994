"""Results as text, as JSON and as JUnit XML."""

import json
from xml.etree import ElementTree as ET

from streamd.testing import report
from tests.testing.conftest import Suite

TESTS = """
[[tests]]
name = 'good & <"quoted">'
inputs = [{ advance = "1s" }]
expect = { filtered = 0 }
[[tests]]
name = "wrong \\u001b[31m"
inputs = [{ source = "floor", text = "\\u0001<&>" }]
expect = { filtered = 1 }
[[tests]]
name = "fault"
inputs = [{ reload = "missing.toml" }]
expect = { filtered = 0 }
"""


def test_results_are_json_and_junit(suite: Suite) -> None:
    (suite.folder / "missing.toml").write_text(suite.config + "[log]\nformat = 'json'\n")
    results = suite.run(TESTS)

    text = report.junit("plant & co", results)
    (tests,) = ET.fromstring(text)  # noqa: S314 - our own
    assert tests.attrib | {"time": ""} == {
        "name": "plant & co", "tests": "3", "failures": "1", "errors": "1", "time": "",
    }  # fmt: skip
    good, wrong, fault = tests
    assert good.get("name") == 'good & <"quoted">'
    assert list(good) == []
    assert wrong.get("line") == str(results[1].located.line())
    assert [part.tag for part in wrong] == ["failure"]
    assert "in all  expected  1" in (wrong[0].text or "")
    assert [part.tag for part in fault] == ["error"]
    assert "log.format cannot be changed" in (fault[0].get("message") or "")

    document = json.loads(json.dumps(report.document(results)))
    assert (document["ok"], [test["passed"] for test in document["tests"]]) == (False, [True, False, False])
    assert {"name": "in all", "expected": "1", "got": "0"} in [
        field for one in document["tests"][1]["differences"] for field in one["fields"]
    ]

    lines = [line for result in results for line in report.lines(result)]
    assert lines[0].startswith('pass  good & <"quoted">  (')
    assert "\x1b" not in "".join(lines)
    assert "\x01" not in "".join(lines)
    assert report.last_line(results).startswith("3 tests, 2 failed (")
    assert report.last_line(results[:1]).startswith("1 test, all passed (")


def test_a_wrong_list_of_any_length_is_shown_in_a_few_lines(suite: Suite) -> None:
    """Also if it is too long to be aligned."""
    records = ", ".join('{ sensor = "a", value = 1.0 }' for _ in range(6000))
    rows = ", ".join(f'{{ sensor = "a", value = {n}.5, warm = false }}' for n in range(6000))
    tests = f"""
[[tests]]
name = "long"
inputs = [{{ source = "floor", records = [{records}] }}]
[tests.expect.sinks.readings]
rows = [{rows}]
"""
    (result,) = suite.run(tests)
    assert len(result.differences) == 6000
    lines = list(report.lines(result))
    assert len(lines) < 100
    assert lines[-1] == f"      … and {6000 - report.MOST_SHOWN:,} more differences"
    assert len(report.document([result])["tests"][0]["differences"]) == 6000
