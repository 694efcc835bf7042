"""Configuration files: YAML in, validated settings or one message out.

Imports no jax: the Snakefile and ``l2o --help`` stay fast.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l2o.config.models import Config
from l2o.config.parsing import merge, parse, read_text, read_yaml
from l2o.config.recipe import Recipe
from l2o.errors import ConfigError
from l2o.files import write_text


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
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid JSON ({error}).") from None
