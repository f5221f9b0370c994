"""The configuration: finds, reads and checks the file, and documents its tables."""

from streamd.config.loading import Loaded, find, load
from streamd.config.problems import Problem
from streamd.config.tables import (
    AdminSettings,
    Config,
    ControlSettings,
    DaemonSettings,
    DeadLetterSettings,
    LedgerSettings,
    LogSettings,
    PipelineSettings,
    groups,
)
from streamd.config.validation import component

__all__ = [
    "AdminSettings",
    "Config",
    "ControlSettings",
    "DaemonSettings",
    "DeadLetterSettings",
    "LedgerSettings",
    "Loaded",
    "LogSettings",
    "PipelineSettings",
    "Problem",
    "component",
    "find",
    "groups",
    "load",
]
