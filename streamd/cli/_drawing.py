"""Draws pipelines as text, with sources above and sinks below."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict

from streamd.core.listed import listed

_ASCII = str.maketrans({"┌": ",", "├": "|", "└": "`", "│": "|", "─": "-", "▼": "v", "▶": ">", "…": "~"})


class DrawnPipeline(TypedDict):
    """One line of text for each part of a pipeline, in order; sources and sinks by name."""

    sources: Mapping[str, str]
    steps: Sequence[str]
    sinks: Mapping[str, str]


def drawing(pipelines: Mapping[str, DrawnPipeline], encoding: str) -> list[str]:
    """A picture of each pipeline with a line for each part, in ASCII if `encoding` has no box characters.

    A source or sink that several pipelines share is in the picture of each, with the names of the others.
    """
    lines: list[str] = []
    for name, pipeline in pipelines.items():
        lines += ["", *_picture(name, pipeline, pipelines)]
    try:
        "┌├└│─▼▶…".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return [line.translate(_ASCII) for line in lines]
    return lines


def _picture(name: str, pipeline: DrawnPipeline, all_of_them: Mapping[str, DrawnPipeline]) -> Iterator[str]:
    others = {other: parts for other, parts in all_of_them.items() if other != name}
    width = max(map(len, (*pipeline["sources"], *pipeline["sinks"])))
    for number, (source, words) in enumerate(pipeline["sources"].items()):
        shared = [other for other, parts in others.items() if source in parts["sources"]]
        yield f"{'├' if number else '┌'}── {source:{width}}  {words}{_and(shared)}"
    yield f"▼ pipeline {name}"
    for number, step in enumerate(pipeline["steps"]):
        yield f"│   step {number}: {step}"
    last = len(pipeline["sinks"]) - 1
    for number, (sink, words) in enumerate(pipeline["sinks"].items()):
        shared = [other for other, parts in others.items() if sink in parts["sinks"]]
        yield f"{'├' if number < last else '└'}─▶ {sink:{width}}  {words}{_and(shared)}"


def _and(shared: Sequence[str]) -> str:
    return f" (shared with pipeline {listed(shared)})" if shared else ""
