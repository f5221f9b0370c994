"""Writes the results of tests for people, as JSON, and as JUnit XML."""

import re
from collections.abc import Iterator, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from streamd.config.written import shown
from streamd.core.plural import counted
from streamd.core.printable import printable
from streamd.testing.compare import Difference
from streamd.testing.run import Result

MOST_SHOWN = 25
"""Most differences of a test that are shown to people; the JSON has all."""
_LONGEST = 2000
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def lines(result: Result) -> Iterator[str]:
    """A line for the test, and a readable description of each difference."""
    located = result.located
    took = f"{result.seconds * 1000:.0f} ms"
    name = printable(located.case.name, _LONGEST)
    if result.passed:
        yield f"pass  {name}  ({took})"
        return
    yield f"FAIL  {name}  ({took}, {shown(located.file)}:{located.line()})"
    yield from (f"      {line}" for line in explanation(result))


def explanation(result: Result) -> Iterator[str]:
    """The fault or the differences of a failed test."""
    if result.fault:
        yield from result.fault.splitlines()
    file = shown(result.located.file)
    for difference in result.differences[:MOST_SHOWN]:
        yield f"{difference.where} {printable(difference.text, _LONGEST)}  ({file}:{difference.line})"
        yield from _fields(difference)
    if (more := len(result.differences) - MOST_SHOWN) > 0:
        yield f"… and {counted(more, 'more difference')}"


def _fields(difference: Difference) -> Iterator[str]:
    width = max((len(one.name) for one in difference.fields), default=0)
    for one in difference.fields:
        name = printable(one.name, _LONGEST).ljust(width)
        yield f"  {name}  expected  {printable(one.expected, _LONGEST)}"
        yield f"  {' ' * width}  got       {printable(one.got, _LONGEST)}"


def last_line(results: Sequence[Result]) -> str:
    """How many tests have passed and failed."""
    failed = sum(not result.passed for result in results)
    seconds = sum(result.seconds for result in results)
    words = f"{len(results)} tests" if len(results) != 1 else "1 test"
    return f"{words}, {f'{failed} failed' if failed else 'all passed'} ({seconds:.2f} s)"


def document(results: Sequence[Result]) -> dict[str, Any]:
    """The results as one JSON object."""
    return {
        "ok": all(result.passed for result in results),
        "tests": [
            {
                "name": result.located.case.name,
                "file": str(result.located.file),
                "line": result.located.line(),
                "passed": result.passed,
                "seconds": round(result.seconds, 6),
                "fault": result.fault,
                "differences": [
                    {
                        "where": one.where,
                        "text": one.text,
                        "line": one.line,
                        "fields": [field._asdict() for field in one.fields],
                    }
                    for one in result.differences
                ],
            }
            for result in results
        ],
    }


def junit(name: str, results: Sequence[Result]) -> str:
    """The results as JUnit XML. A test that could not run is an error, any other that failed a failure."""
    failures = sum(bool(result.differences) for result in results)
    errors = sum(bool(result.fault) for result in results)
    seconds = sum(result.seconds for result in results)
    suite = (
        f"<testsuites><testsuite name={_attribute(name)} tests={_attribute(len(results))}"
        f" failures={_attribute(failures)} errors={_attribute(errors)} time={_attribute(f'{seconds:.6f}')}>"
    )
    parts = ['<?xml version="1.0" encoding="UTF-8"?>', suite]
    for result in results:
        located = result.located
        head = (
            f"<testcase classname={_attribute(located.file)} name={_attribute(located.case.name)}"
            f" file={_attribute(located.file)} line={_attribute(located.line())}"
            f" time={_attribute(f'{result.seconds:.6f}')}"
        )
        if result.passed:
            parts.append(f"{head}/>")
            continue
        kind = "error" if result.fault else "failure"
        texts = list(explanation(result))
        body = _xml("\n".join(texts))
        parts.append(f"{head}><{kind} message={_attribute(texts[0])}>{body}</{kind}></testcase>")
    return "\n".join([*parts, "</testsuite></testsuites>", ""])


def _attribute(value: Any) -> str:
    return quoteattr(_NOT_XML.sub("\ufffd", str(value)))


def _xml(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))
