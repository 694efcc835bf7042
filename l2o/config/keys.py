"""Every configuration key, as the table in ``config/README.md``."""

import types
import typing
from collections.abc import Iterator
from typing import Any

import pydantic

from l2o.config.models import Config

HEADER = """# Configuration

`config.yaml` is what a user edits; `scales/<scale>.yaml` holds the budgets. Any key of a scale file
may be set in `config.yaml` or on the command line
(`snakemake --cores all --config scale=smoke`, `--configfile mine.yaml`), and wins there.
Lists are replaced whole, mappings are merged key by key.

Two keys exist only in these files: `recipe` (defaults of every entry of `recipes`), and a recipe's
own entry, which needs to say only what differs. To add a scale, add `scales/<name>.yaml` and set
`scale: <name>`; to add an ablation, add its recipes and an entry under `ablations`, then run
`snakemake --cores all ablations`.

A sweep is a table of runs that differ from one recipe in what its columns say, as
`sweeps/meta_learning_rate.tsv` does; `snakemake --cores all sweep_<name>` trains and scores them.
Rows that differ in `seed` alone are one setting, and settings are ranked by their mean over seeds.

Meta-training, validation and test tasks must be disjoint; a configuration in which they are not, an
unknown key or a value out of range ends with one message and exit code 2 before any job starts.
`l2o config --scale paper` prints a resolved configuration.

This table is written by `l2o config --keys`.

| key | type | default | meaning |
|---|---|---|---|
"""


def describe() -> str:
    """Return ``config/README.md``: introduction and one row per key."""
    return HEADER + "".join(f"| {' | '.join(row)} |\n" for row in _rows(Config, ""))


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
