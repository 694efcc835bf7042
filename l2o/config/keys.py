"""Every key of the configuration, as a table."""

import types
import typing
from collections.abc import Iterator
from typing import Any

import pydantic

from l2o.config.models import Config

HEAD = "| key | type | default | meaning |\n|---|---|---|---|\n"


def describe() -> str:
    """Return the table at the end of ``config/README.md``: a row for every key."""
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in _rows(Config, ""))


def _rows(model: type[pydantic.BaseModel], prefix: str) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        key, nested = prefix + name, _nested(field.annotation)
        if nested is None:
            default = "required" if field.is_required() else f"`{_text(field.default)}`"
            yield f"`{key}`", _type_name(field.annotation), default, field.description or ""
            continue
        many = nested is not field.annotation
        below = f"{key}.<name>." if typing.get_origin(field.annotation) is dict else f"{key}."
        if many and typing.get_origin(field.annotation) is list:
            below = f"{key}[]."
        yield f"`{key}`", "mapping" if "[]" not in below else "list", "", _summary(field, nested)
        yield from _rows(nested, below)


def _summary(field: Any, nested: type) -> str:
    return field.description or (nested.__doc__ or "").strip().splitlines()[0]


def _nested(annotation: Any) -> type[pydantic.BaseModel] | None:
    """Return the model inside an annotation: itself, or a list's or mapping's values."""
    for option in (annotation, *typing.get_args(annotation)[-1:]):
        if isinstance(option, type) and issubclass(option, pydantic.BaseModel):
            return option
    return None


def _type_name(annotation: Any) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return "mapping"
    if origin is typing.Annotated:
        return _type_name(args[0])
    if origin is typing.Literal:
        return ", ".join(f"`{arg}`" for arg in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(arg) for arg in args)
    if origin is tuple:  # of any length, as YAML knows only lists
        return f"list of {_type_name(args[0])}"
    if origin in (list, dict):
        return f"{origin.__name__} of {_type_name(args[-1])}"
    return {type(None): "null", int: "integer", float: "number", str: "text", Any: "any value"}.get(
        annotation, getattr(annotation, "__name__", str(annotation))
    )


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
