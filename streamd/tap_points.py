"""The points of an assembly at which taps may look, in the order of the flow."""

from collections.abc import Callable, Iterable, Iterator

from streamd.assembly import Assembly
from streamd.core.batch import Record
from streamd.core.contracts import Step
from streamd.runtime.stage import Stage
from streamd.runtime.taps import Point


def points(parts: Assembly) -> Iterator[Point]:
    """Sources behind their codec, steps behind their results, sinks before their writes."""
    for workers in parts.workers.values():
        for feed in workers.feeds:
            later = {
                name: conceal
                for route in feed.routes
                for name, conceal in _conceals(route.pipeline.name, route.pipeline.stages).items()
            }
            yield Point(f"source:{feed.frames.source}", feed, later)
    for name, pipeline in parts.pipelines.items():
        for place, stage in enumerate(pipeline.stages, 1):
            yield Point(f"step:{name}.{stage.name}", stage, _conceals(name, pipeline.stages[place:]))
    for name, delivery in parts.deliveries.items():
        yield Point(f"sink:{name}", delivery)


def _conceals(pipeline: str, stages: Iterable[Stage]) -> dict[str, Callable[[Record], Record]]:
    """The functions of the steps that redact, by the name of the step."""
    return {
        f"{pipeline}.{stage.name}": stage.step.conceal
        for stage in stages
        if type(stage.step).conceal is not Step.conceal
    }
