"""Configuration files: YAML in, validated settings or one message out.

Imports no jax: the Snakefile and ``l2o --help`` stay fast.
"""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic
import yaml

from l2o.config.base import Model
from l2o.config.models import Config
from l2o.config.recipe import Recipe
from l2o.errors import ConfigError
from l2o.files import write_text


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
        value = yaml.safe_load(_read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no such date
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: must be a mapping of keys to values.")
    return value


def build(settings: Mapping[str, Any], folder: str | Path = "config") -> Config:
    """Build the configuration of a scale.

    ``settings`` wins over ``scales/<scale>.yaml``; ``recipe`` holds the defaults of every recipe.

    Args:
        settings: Parsed ``config.yaml``, merged with what the command line gives.
        folder: Where ``scales/`` is.

    Raises:
        ConfigError: Anything is missing, unknown, of the wrong type, or inconsistent.
    """
    settings = dict(settings)
    scale = settings.get("scale", "quick")
    known = sorted(path.stem for path in (Path(folder) / "scales").glob("*.yaml"))
    if scale not in known:  # never part of a path before it is known
        raise ConfigError(f"scale: unknown scale '{scale}'; known: {', '.join(known)}.")
    resolved = merge(read_yaml(Path(folder) / "scales" / f"{scale}.yaml"), settings)
    defaults = resolved.pop("recipe", None) or {}
    if not isinstance(defaults, Mapping):
        raise ConfigError(f"recipe: must be a mapping; got {defaults!r}.")
    if isinstance(resolved.get("recipes"), Mapping):
        resolved["recipes"] = {
            name: merge(defaults, recipe or {}) if isinstance(recipe or {}, Mapping) else recipe
            for name, recipe in resolved["recipes"].items()
        }
    return parse(Config, resolved)


def load(path: str | Path) -> Config:
    """Read a resolved configuration (``results/<scale>/config.json``)."""
    return parse(Config, _read_json(path), str(path))


def dump(config: Config) -> str:
    """Return a configuration as JSON text."""
    return json.dumps(config.model_dump(), indent=2) + "\n"


def write(config: Config, path: str | Path) -> None:
    """Write a resolved configuration, unless the file says the same already."""
    path = Path(path)
    if not path.is_file() or path.read_text(encoding="utf-8") != dump(config):
        write_text(path, dump(config))


def load_recipe(path: str | Path) -> Recipe:
    """Read one recipe from a YAML or JSON file of its own."""
    return parse(Recipe, read_yaml(path), str(path))


def _read_json(path: str | Path) -> Any:
    try:
        return json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid JSON ({error}).") from None


def _read_text(path: str | Path) -> str:
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
