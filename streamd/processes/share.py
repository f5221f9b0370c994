"""The part of a configuration that one of several processes runs."""

from dataclasses import replace

from streamd import registry
from streamd.config import Config, Loaded
from streamd.config.tables import CONTROL_OFF


def received_by_all(config: Config) -> set[str]:
    """The sources for which every process receives. The first process alone has the others."""
    return {
        name
        for name, source in config.sources.items()
        if registry.load("sources", source.type).in_each_process
    }


def share_of(loaded: Loaded, number: int, count: int, alone: frozenset[str] = frozenset()) -> Loaded:
    """What process `number` of `count` runs: no admin address, and its part of each limit.

    The process 0 also has the sources in `alone`.

    Only the process 0 has the sources that one process alone can read, and the pipelines and sinks that get
    records from nowhere else. It alone deletes old rows and adds up the old rows of the ledger.
    """
    config = loaded.config
    shared = received_by_all(config) - alone
    mine = {
        name: source.share(count) if name in shared else source for name, source in config.sources.items()
    }
    pipelines = dict(config.pipelines)
    if number:
        mine = {name: source for name, source in mine.items() if name in shared}
        pipelines = {
            name: pipeline.model_copy(update={"sources": [one for one in pipeline.sources if one in shared]})
            for name, pipeline in pipelines.items()
            if shared.intersection(pipeline.sources)
        }
    fed_by_all = _sinks_of(config, shared)
    fed = {sink for pipeline in pipelines.values() for sink in pipeline.sinks}
    sinks = {
        name: sink.share(number, count) if name in fed_by_all else sink
        for name, sink in config.sinks.items()
        if name in fed or number == 0
    }
    letters = config.dead_letters
    changed = {
        "daemon": config.daemon.model_copy(update={"tests": "ignore"}),
        "admin": config.admin.model_copy(update={"listen": None}),
        "control": config.control.model_copy(update={"path": CONTROL_OFF}),
        "ledger": config.ledger.model_copy(update={"max_age": None}) if number else config.ledger,
        "dead_letters": letters.model_copy(
            update={"rate": max(1, letters.rate // count), "burst": max(1, letters.burst // count)}
        ),
        "sources": mine,
        "pipelines": pipelines,
        "sinks": sinks,
    }
    return replace(loaded, config=config.model_copy(update=changed))


def _sinks_of(config: Config, sources: set[str]) -> set[str]:
    return {
        sink
        for pipeline in config.pipelines.values()
        if sources.intersection(pipeline.sources)
        for sink in pipeline.sinks
    }
