"""Why a configuration cannot run in several processes."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from streamd import registry
from streamd.config import Config, Loaded, Problem
from streamd.core.contracts import Step
from streamd.core.settings import Address
from streamd.files.dated import is_dated
from streamd.processes.share import received_by_all

_WAY_OUT = "set daemon.processes = 1, or run this pipeline from a configuration of its own"
_WAY_OUT_OF_STEPS = (
    "Several workers can share such a step by key if the records come through partitions of a stream"
    " (docs/how-to/jetstream.md)"
)


def refusals(loaded: Loaded, steps: Mapping[str, Sequence[tuple[str, Step[Any]]]]) -> Iterator[Problem]:
    """The problems of the configuration, if it asks for several processes. `steps` by pipeline."""
    config = loaded.config
    if config.daemon.process_count == 1:
        return
    shared = received_by_all(config)
    if not shared:
        yield Problem(
            ("daemon", "processes"),
            "no source can be received by several processes (tcp and udp can): leave processes out",
        )
    yield from _of_sources(config, shared)
    for name, pipeline in config.pipelines.items():
        fed_by = [source for source in pipeline.sources if source in shared]
        if not fed_by:
            continue
        why = f"every process receives records of the source {fed_by[0]!r}"
        for index, (_, step) in enumerate(steps.get(name, ())):
            if not step.in_each_process or step.is_stateful or step.is_timed:
                kind = pipeline.steps[index].type
                text = (
                    f"{kind} remembers records, and {why}, so each would remember only a part: {_WAY_OUT}."
                    f" {_WAY_OUT_OF_STEPS}"
                )
                yield Problem(("pipelines", name, "steps", index), text)
        for index, sink in enumerate(pipeline.sinks):
            settings = config.sinks[sink]
            place = ("pipelines", name, "sinks", index)
            kind = registry.load("sinks", settings.type)
            if not kind.in_each_process:
                because = f", because {kind.why_one_process}" if kind.why_one_process else ""
                text = (
                    f"a {settings.type} sink cannot be shared by several processes{because}, and {why}: use"
                    f" {_shared_sinks()}, {_WAY_OUT}"
                )
                yield Problem(place, text)
            elif any(output.kind == "database" and is_dated(Path(output.at)) for output in settings.outputs):
                text = (
                    f"several processes cannot change to the next dated file together, and {why}: {_WAY_OUT}"
                )
                yield Problem(place, text)


def _shared_sinks() -> str:
    names = registry.names("sinks")
    return " or ".join(name for name in names if registry.load("sinks", name).in_each_process)


def _of_sources(config: Config, shared: set[str]) -> Iterator[Problem]:
    taken: set[tuple[str, Address | str]] = set()
    for name in config.sources:
        if name not in shared:
            continue
        for endpoint in config.sources[name].endpoints:
            if (endpoint.kind, endpoint.at) in taken:  # only possible with port 0
                yield Problem(
                    ("sources", name, endpoint.key),
                    f"with several processes, only one source can listen on {endpoint.at}: name a port",
                )
            taken.add((endpoint.kind, endpoint.at))


KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
"""The kinds of endpoints whose sockets are given to the processes."""
