"""Sweeps: a table of recipes, one row per run. Imports no jax: the Snakefile reads them too."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from l2o.config.parsing import merge, parse
from l2o.config.recipe import Recipe
from l2o.errors import ConfigError, look_up, unknown_name

if TYPE_CHECKING:
    from l2o.config.models import Config, Sweep

# What is safe in the name of a folder, on a command line and in a pattern of Snakemake.
_SAFE = re.compile(r"[A-Za-z0-9_.+-]+")


class Row(NamedTuple):
    """One run of a sweep."""

    folder: str  # its results, below the sweep's: column~value/..., a column's dots as underscores
    recipe: Recipe
    seed: int


def read_sweep(config: Config, name: str) -> list[Row]:
    """Return the rows of a sweep.

    Args:
        config: The pipeline's configuration.
        name: One of its sweeps. Its table's columns are keys of a recipe (``a.b`` for what is
            nested) or ``seed``; its cells replace them, as YAML values.

    Raises:
        L2OError: There is no such sweep.
        ConfigError: The table is missing, empty, has a column or value that a recipe has not, or a
            row twice.
    """
    sweep = look_up("sweep", name, config.sweeps)
    base = config.recipes[sweep.recipe].model_dump()
    rows = [_row(base, cells, f"{sweep.table}: row {i}") for i, cells in enumerate(_read(sweep), 1)]
    folders = [row.folder for row in rows]
    if len(set(folders)) < len(folders):
        raise ConfigError(f"{sweep.table}: a row is there twice.")
    return rows


def find_row(rows: Sequence[Row], folder: str) -> Row:
    """Return the row of a folder.

    Raises:
        L2OError: There is none; the message gives the nearest one.
    """
    for row in rows:
        if row.folder == folder:
            return row
    raise unknown_name("row", folder, (row.folder for row in rows))


def split_row(row: Row) -> dict[str, str]:
    """Return what a row says in each column, as texts, from its folder."""
    return dict(part.split("~") for part in row.folder.split("/"))


def _read(sweep: Sweep) -> list[dict[str, str]]:
    try:
        with open(sweep.table, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", strict=True)
            rows, columns = list(reader), list(reader.fieldnames or [])
    except FileNotFoundError:
        raise ConfigError(f"{sweep.table}: no such file.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{sweep.table}: cannot be read ({error}).") from None
    if not rows:
        raise ConfigError(f"{sweep.table}: has no rows.")
    _check_names(columns, f"{sweep.table}: columns")
    if len({_flat(column) for column in columns}) < len(columns):
        raise ConfigError(f"{sweep.table}: a column is there twice.")
    for i, cells in enumerate(rows, 1):
        if None in cells or None in cells.values() or "" in cells.values():
            raise ConfigError(f"{sweep.table}: row {i} does not have one value per column.")
        _check_names(cells.values(), f"{sweep.table}: row {i}")
    return rows


def _check_names(texts: Iterable[str], where: str) -> None:
    """Refuse what a folder cannot be named after."""
    for text in texts:
        if not _SAFE.fullmatch(text):
            raise ConfigError(f"{where}: '{text}' is not of letters, digits, _ . + and - alone.")


def _flat(column: str) -> str:
    """Return a column's name in folders: Snakemake's Paramspace takes only identifiers."""
    return column.replace(".", "_")


def _row(base: dict[str, Any], cells: dict[str, str], where: str) -> Row:
    changes: dict[str, Any] = {}
    for column, text in cells.items():
        value = _parse_cell(text, f"{where}: {column}")
        for key in reversed(column.split(".")):
            value = {key: value}
        changes = merge(changes, value)
    seed = changes.pop("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(f"{where}: seed must be a whole number; got {seed!r}.")
    recipe = parse(Recipe, merge(base, changes), where)
    return Row("/".join(f"{_flat(column)}~{text}" for column, text in cells.items()), recipe, seed)


def _parse_cell(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        why = " ".join(str(error).split())
        raise ConfigError(f"{where}: '{text}' is not a YAML value ({why}).") from None
