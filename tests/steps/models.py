"""Models as users write them, for the rule `model`."""

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Reading(BaseModel):
    """A reading of the records that the tests of all steps make."""

    n: float = Field(0, le=5)
    t: str | None = None

    @field_validator("t")
    @classmethod
    def fails(cls, value: str | None) -> str | None:
        if value == "12.5":
            raise ZeroDivisionError(value)
        return value


class Exact(Reading):
    """Refuses other fields."""

    model_config = ConfigDict(extra="forbid")
