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


def find(path: str, folder: str | Path) -> str:
    """Return a path as it is if it leads somewhere, and else below ``folder`` if that does.

    The working directory of a workflow need not be where its own files are.
    """
    other = Path(folder) / path
    return str(other) if not Path(path).exists() and other.exists() else path


def build(settings: Mapping[str, Any], *folders: str | Path) -> Config:
    """Build the configuration of a scale.

    ``settings`` wins over ``scales/<scale>.yaml``; ``recipe`` holds the defaults of every recipe.

    Args:
        settings: Parsed ``config.yaml``, merged with what the command line gives.
        folders: Where ``scales/`` is, ``config`` by default; the first that has the scale counts.
            Files that the settings name are looked for in the working directory, then beside these
            folders.

    Raises:
        ConfigError: Anything is missing, unknown, of the wrong type, or inconsistent.
    """
    settings, places = dict(settings), [Path(folder) for folder in folders or ("config",)]
    resolved = merge(_read_scale(settings.get("scale", "quick"), places), settings)
    defaults = resolved.pop("recipe", None) or {}
    if not isinstance(defaults, Mapping):
        raise ConfigError(f"recipe: must be a mapping; got {defaults!r}.")
    if isinstance(resolved.get("recipes"), Mapping):
        resolved["recipes"] = {
            name: merge(defaults, recipe or {}) if isinstance(recipe or {}, Mapping) else recipe
            for name, recipe in resolved["recipes"].items()
        }
    return _with_places(parse(Config, resolved), places)


def _read_scale(scale: Any, places: list[Path]) -> dict[str, Any]:
    found = {path.stem: path for place in reversed(places) for path in place.glob("scales/*.yaml")}
    if not isinstance(scale, str) or scale not in found:  # never part of a path before it is known
        raise ConfigError(f"scale: unknown scale '{scale}'; known: {', '.join(sorted(found))}.")
    return read_yaml(found[scale])


def _with_places(config: Config, places: list[Path]) -> Config:
    """Return a configuration whose files are found from the working directory."""

    def found(name: str) -> str:
        for place in places:
            name = find(name, place.resolve().parent)
        return name

    sweeps = {
        name: sweep.model_copy(update={"table": found(sweep.table)})
        for name, sweep in config.sweeps.items()
    }
    pretrained = {
        name: one.model_copy(update={"weights": found(one.weights)})
        for name, one in config.pretrained.items()
    }
    return config.model_copy(update={"sweeps": sweeps, "pretrained": pretrained})


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
