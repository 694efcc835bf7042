"""What configurations are read with: YAML, merging, and one readable line for what does not fit.

Knows nothing of the keys that there are. Imports no jax.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic
import yaml

from l2o.config.base import Model
from l2o.errors import ConfigError


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; what ``over`` holds wins, lists are replaced whole."""
    merged = copy.deepcopy(dict(base))
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else copy.deepcopy(value)
    return merged


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: The file is missing, is not YAML, or is not a mapping.
    """
    try:
        value = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no such date
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: must be a mapping of keys to values.")
    return value


def read_text(path: str | Path) -> str:
    """Read a text file.

    Raises:
        ConfigError: It is missing, or is no text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}).") from None


def parse(model: type[Model], value: Any, where: str = "") -> Any:
    """Validate a value; the first problems become one readable line each.

    Raises:
        ConfigError: The value does not fit the model.
    """
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()[:5]]
        more = len(error.errors()) - len(lines)
        suffix = f" (and {more} more)" if more > 0 else ""
        place = f"{where}: " if where else ""
        raise ConfigError(f"{place}{'; '.join(lines)}{suffix}.") from None


def _explain(problem: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "unknown key"
    elif problem["type"] != "value_error" and problem["type"] != "missing":
        message = f"{message[0].lower()}{message[1:]}; got {problem['input']!r}"
    return f"{place}: {message}" if place else message
