"""A configuration as a test runs it: with outputs in a folder of its own, and all Python inline."""

from dataclasses import replace
from pathlib import Path

from streamd.config import Loaded
from streamd.core.settings import BatchSettings, ComponentSettings
from streamd.functions.options import HOW_IT_RUNS
from streamd.trial.output import TrialOutput


def prepared(loaded: Loaded, folder: Path) -> Loaded:
    """The configuration whose sinks write below `folder` at once, and whose Python steps run inline."""
    config = loaded.config
    sinks = {
        name: TrialOutput(name, settings, folder / name).settings.model_copy(
            update={
                "batch": BatchSettings(max_records=settings.batch.max_records, max_wait="0s"),
                "buffer": settings.buffer.model_copy(update={"when_full": "block"}),
            }
        )
        for name, settings in config.sinks.items()
    }
    pipelines = {
        name: pipeline.model_copy(update={"steps": list(map(inline, pipeline.steps))})
        for name, pipeline in config.pipelines.items()
    }
    daemon = config.daemon.model_copy(update={"state_dir": str(folder)})
    changes = {"daemon": daemon, "sinks": sinks, "pipelines": pipelines}
    return replace(loaded, config=config.model_copy(update=changes), schemas=dict(loaded.schemas))


def inline(step: ComponentSettings) -> ComponentSettings:
    """The step without the options that say where its Python runs."""
    if step.type != "python":
        return step
    options = {key: value for key, value in step.options.items() if key not in HOW_IT_RUNS}
    return ComponentSettings(type=step.type, **options)
