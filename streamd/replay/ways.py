"""The pipelines and sinks that receive replayed letters in the current configuration."""

from streamd.config import Loaded
from streamd.replay.letters import Origin


def why_not(loaded: Loaded, origin: Origin) -> str | None:
    """The reason why letters of this origin cannot be replayed in the current configuration, or None."""
    config = loaded.config
    if origin.kind not in ("frame", "record"):
        return f"the payload was not kept ({origin.kind})"
    if origin.kind == "frame" and origin.source not in config.sources:
        return f"there is no source {origin.source!r} now"
    if origin.pipeline is None:
        return None if _readers(loaded, origin.source) else f"no pipeline reads {origin.source!r} now"
    if origin.pipeline not in config.pipelines:
        return f"there is no pipeline {origin.pipeline!r} now"
    if origin.sink is not None and origin.sink not in config.pipelines[origin.pipeline].sinks:
        return f"the pipeline {origin.pipeline!r} has no sink {origin.sink!r} now"
    return None


def pipelines_of(loaded: Loaded, origin: Origin) -> list[str]:
    """The pipelines that receive letters of this origin."""
    return _readers(loaded, origin.source) if origin.pipeline is None else [origin.pipeline]


def sinks_of(loaded: Loaded, origin: Origin) -> list[str]:
    """The sinks that may receive letters of this origin."""
    if origin.sink is not None:
        return [origin.sink]
    pipelines = loaded.config.pipelines
    return list(
        dict.fromkeys(sink for name in pipelines_of(loaded, origin) for sink in pipelines[name].sinks)
    )


def _readers(loaded: Loaded, source: str) -> list[str]:
    return [name for name, pipeline in loaded.config.pipelines.items() if source in pipeline.sources]
