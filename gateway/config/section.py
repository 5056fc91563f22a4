"""What every section of the configuration is made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from gateway.config.scalars import empty_is_no_keys


class Section(BaseModel):
    """Frozen, and strict about unknown keys. The docstring under a key is its description in the JSON Schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return empty_is_no_keys(value)
