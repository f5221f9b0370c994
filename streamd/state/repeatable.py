"""Why a pipeline could not make the same results again of a partition that another process goes on with."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streamd.config import Config, Problem
from streamd.core.contracts import AnyCodec, AnySink, Step

_LEAVE_OUT = "or leave partitions out of the source, which then stores each record at least once"


def refusals(
    config: Config,
    codecs: Mapping[str, AnyCodec],
    steps: Mapping[str, Sequence[tuple[str, Step[Any]]]],
    sinks: Mapping[str, AnySink],
) -> Iterator[Problem]:
    """The problems of sources that claim partitions. `codecs` by source, `steps` by pipeline."""
    claiming = [name for name, source in config.sources.items() if source.claims_inputs]
    for name in claiming:
        if name in codecs and codecs[name].holds:
            text = f"this codec keeps frames for frames that follow, {_LEAVE_OUT}"
            yield Problem(("sources", name, "codec"), text)
        if config.sources[name].when_full != "block":
            yield Problem(
                ("sources", name, "buffer", "when_full"), 'records that are dropped are lost: use "block"'
            )
    for name, pipeline in config.pipelines.items():
        fed_by = next((source for source in pipeline.sources if source in claiming), None)
        if fed_by is None:
            continue
        why = f"the source {fed_by!r} has partitions"
        for index, (_, step) in enumerate(steps.get(name, ())):
            if reason := step.unrepeatable():
                kind = pipeline.steps[index].type
                text = f"{kind} could make other results when another worker goes on ({why}): {reason}"
                yield Problem(("pipelines", name, "steps", index), text)
            elif step.is_stateful and len(pipeline.sources) > 1:
                text = (
                    f"each partition has a state of its own ({why}): give it a pipeline without other sources"
                )
                yield Problem(("pipelines", name, "sources"), text)
        yield from _of_sinks(config, name, sinks, why)


def _of_sinks(config: Config, pipeline: str, sinks: Mapping[str, AnySink], why: str) -> Iterator[Problem]:
    for index, sink in enumerate(config.pipelines[pipeline].sinks):
        settings = config.sinks[sink]
        place = ("pipelines", pipeline, "sinks", index)
        if sink in sinks and not sinks[sink].keeps_positions:
            text = (
                f"this {settings.type} sink does not store how far a partition is stored ({why}): use sqlite"
                f" with one file, or postgresql, {_LEAVE_OUT}"
            )
            yield Problem(place, text)
        if (settings.buffer.when_full or "block") != "block":
            text = f'records that its buffer drops are lost ({why}): use when_full = "block"'
            yield Problem(place, text)
