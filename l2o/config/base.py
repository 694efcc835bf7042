"""What all settings are made of: bounded numbers, and models that refuse unknown keys."""

from typing import Annotated, Any, Literal

import pydantic

from l2o.choices import TORSOS

Positive = Annotated[int, pydantic.Field(gt=0)]
PositiveFloat = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, pydantic.Field(gt=0, le=1)]
AtLeastOne = Annotated[float, pydantic.Field(ge=1, allow_inf_nan=False)]
Layers = tuple[Positive, ...]
Torso = Literal[*TORSOS]
Name = Annotated[str, pydantic.Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]


def field(description: str, default: Any = ..., **kwargs: Any) -> Any:
    """Describe a key; without a default it is required."""
    return pydantic.Field(default, description=description, **kwargs)


class Model(pydantic.BaseModel):
    """Refuses unknown keys and changes."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
