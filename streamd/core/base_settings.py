"""The base of all tables of the configuration, for modules that `core/settings.py` itself imports."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every table of the configuration: refuses unknown keys and is immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, populate_by_name=True)
