"""What the result of a stage depends on, for the workflow to know when to run it again.

Snakemake's own triggers follow neither an imported package nor the parts of one configuration
file, nor what became of the results of a job that failed. Each rule therefore carries parameters
from here. Imports no jax.
"""

import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from l2o.config.models import Config
from l2o.config.sweeps import find_row, read_sweep
from l2o.errors import unknown_name

_PACKAGE = Path(__file__).parent
_LIBRARY = ("optimizers", "tasks", "agents", "seeding.py")
_META = (*_LIBRARY, "meta", "checkpoint.py", "processes.py")
_TUNING_KEYS = {"learning_rates", "tuning_seeds", "tuning_env_steps"}
_AGENT_KEYS = {"recipes", "backend", "episodes", "ppo"}
_Job = tuple[str, str]
_STATISTICS = tuple(
    f"evaluation/{name}.py" for name in ("aggregates", "intervals", "nested", "statistics")
)
_SOURCES = {
    "baselines": (*_LIBRARY, "evaluation"),
    "meta_train": _META,
    "sweep": _META,
    "score_sweep": (*_LIBRARY, "evaluation"),
    "select": (*_LIBRARY, "evaluation"),
    "tune": (*_LIBRARY, "evaluation", "checkpoint.py"),
    "transfer": (*_LIBRARY, "evaluation", "checkpoint.py"),
    "transfer_summary": ("report", *_STATISTICS),
    "level": (*_LIBRARY, "evaluation"),
    "ablate": ("evaluation/ablate.py", "evaluation/factorial.py", *_STATISTICS),
    "record": (*_LIBRARY, "evaluation", "analysis"),
    "drift": (*_LIBRARY, "meta", "analysis"),
    "identity": ("optimizers", "seeding.py", "analysis"),
    "study": ("report", "analysis/gradients.py", *_STATISTICS),
    "report": ("report", "jobs.py", "analysis/gradients.py", *_STATISTICS),
    "track": ("tracking", "model_registry.py", "jobs.py", "history.py"),
}


@functools.cache
def code_version(stage: str) -> str:
    """Return a digest of the source files that a stage's result depends on, read once."""
    if stage not in _SOURCES:
        raise unknown_name("stage", stage, _SOURCES)
    digest = hashlib.sha256()
    for source in _SOURCES[stage]:
        path = _PACKAGE / source
        files = sorted(path.rglob("*.*")) if path.is_dir() else [path]
        for file in files:
            if "__pycache__" not in file.parts:
                digest.update(file.relative_to(_PACKAGE).as_posix().encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def settings_version(config: Config, stage: str, name: str = "") -> str:
    """Return a digest of the settings that a stage's result depends on.

    Args:
        config: The configuration.
        stage: The stage.
        name: Which of its jobs: a task, a recipe, an ablation, a level (``<recipe>/<task>``, or
            ``<recipe>/toy``), a sweep or one of its rows (``<sweep>/<folder>``), a task's variant
            (``<task>/<variant>``).
    """
    return _digest(_settings(config, stage, name))


def upstream_version(config: Config, stage: str, name: str = "") -> str:
    """Return a digest of settings and code of all jobs that a job's inputs come from.

    A job that fails loses its results. What was made from older ones then has nothing left that it
    could be older than, and passes for up to date: only this tells.

    Args:
        config: The configuration.
        stage: The stage.
        name: Which of its jobs, see :func:`settings_version`; of a level its recipe is enough.
    """
    jobs = sorted(_ancestors(config, (stage, name)))
    return _digest([[*job, settings_version(config, *job), code_version(job[0])] for job in jobs])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _ancestors(config: Config, job: _Job) -> set[_Job]:
    direct = set(_upstream(config, *job))
    return direct.union(*(_ancestors(config, other) for other in direct))


def _upstream(config: Config, stage: str, name: str) -> Iterator[_Job]:
    """Yield the jobs that a job reads from, as the rules of the workflow have them."""
    transfer, select = config.transfer, config.select
    match stage:
        case "select":
            yield "meta_train", select.recipe
            yield from (("baselines", task) for task in select.tasks)
        case "tune":
            yield "select", ""
            yield from (("meta_train", recipe) for recipe in transfer.recipes)
        case "transfer":
            yield "tune", ""
        case "transfer_summary":
            yield from (("transfer", task) for task in transfer.tasks)
        case "level" if (recipe := name.partition("/")[0]) in config.recipes:
            yield "meta_train", recipe
        case "ablate":
            ablation = config.ablations[name]
            places = ["toy", *ablation.tasks]
            yield from (("level", f"{r}/{place}") for r in ablation.recipes for place in places)
            tasks = [*config.toy_evaluation_tasks, *ablation.tasks]
            yield from (("baselines", task) for task in tasks)
        case "score_sweep":
            yield "sweep", name
            yield from (("baselines", task) for task in select.tasks)
        case "identity":
            yield "record", name
        case "study":
            yield from (("record", source) for source in config.analysis.sources)
            yield from [("drift", "")] if name == "non_iid" else []
        case "report" | "track":
            yield "transfer_summary", ""
            yield from (("baselines", task) for task in config.toy_evaluation_tasks)
            yield from (("meta_train", recipe) for recipe in config.usual_recipes)
            yield from (("ablate", ablation) for ablation in config.usual_ablations)


def _settings(config: Config, stage: str, name: str) -> object:
    whole = config.model_dump()
    selected = whole["recipes"][config.select.recipe]
    agents = {key: selected[key] for key in ("interior", "timeout_terminates")}
    tasks = {task: whole["toy_tasks"][task] for task in config.toy_evaluation_tasks}
    match stage:
        case "meta_train":
            return whole["recipes"][name]
        case "baselines" if name in whole["toy_tasks"]:
            return [whole["baselines"], whole["toy_tasks"][name], agents]
        case "baselines":
            keys = _TUNING_KEYS | _AGENT_KEYS | {"seeds", "points"}
            return _pick(whole["transfer"], keys - {"recipes"})
        case "level" if (where := name.partition("/")[2]) == "toy":
            return [tasks, agents, config.meta_seeds, config.evaluation_seeds]
        case "level" if where in whole["toy_tasks"]:
            seeds = [config.meta_seeds, config.evaluation_seeds]
            return [whole["toy_tasks"][where], agents, *seeds]
        case "level":
            seeds = [config.meta_seeds, config.evaluation_ppo_seeds]
            return [_pick(whole["transfer"], _AGENT_KEYS - {"recipes"} | {"points"}), *seeds]
        case "sweep":
            return _sweep_settings(config, *name.split("/", 1))
        case "score_sweep":
            scored = {task: tasks[task] for task in config.select.tasks}
            which = config.sweeps[name].checkpoints
            return [which, config.select.tasks, config.select.seeds, scored, agents]
        case "select":
            seeds = [config.selection_seeds, config.baselines.seeds]
            return [whole["select"], tasks, agents, *seeds]
        case "tune":
            keys = _TUNING_KEYS | _AGENT_KEYS | {"tuning_tasks"}
            return [_pick(whole["transfer"], keys), config.baselines.optimizers]
        case "transfer":
            keys = _AGENT_KEYS | {"oracle", "seeds", "points"}
            keys |= _TUNING_KEYS if config.transfer.oracle else set()
            variant = whole["transfer"]["variants"].get(name.partition("/")[2])
            return [_pick(whole["transfer"], keys), variant, config.baselines.optimizers]
        case "transfer_summary":
            return [whole["transfer"]["tasks"]]
        case "ablate":
            ablation = whole["ablations"][name]
            compared = [ablation[key] for key in ("recipes", "tasks", "factors")]
            return [*compared, selected["tasks"], config.select.tasks]
        case "record":
            return [_recorded(config, whole, name), agents]
        case "drift" | "identity":
            return whole["analysis"][stage]
        case "study":
            return sorted(whole["analysis"]["sources"])
        case _:
            return whole


def _recorded(config: Config, whole: dict, name: str) -> object:
    """Return what the recording of a source depends on."""
    source = whole["analysis"]["sources"][name]
    budget = whole["toy_tasks"].get(source["task"])
    if budget is None:
        budget = _pick(whole["transfer"], _AGENT_KEYS | {"points"})
    return [source, budget, {k: v for k, v in whole["analysis"].items() if not isinstance(v, dict)}]


def _pick(settings: dict, keys: set[str]) -> dict:
    return {key: settings[key] for key in sorted(keys)}


def _sweep_settings(config: Config, name: str, folder: str | None = None) -> object:
    """Return what the rows of a sweep, or one of them, become: the table's layout is of no matter.

    Nor is whether they share a job, as their results are the same.
    """
    rows = read_sweep(config, name)
    chosen = rows if folder is None else [find_row(rows, folder)]
    settings = [[row.folder, row.recipe.model_dump(), row.seed] for row in chosen]
    return [config.sweeps[name].recipe, settings]
