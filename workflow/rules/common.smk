# The configuration, and which files each target stands for.
import os
import sys
import uuid

import pandas as pd
from snakemake.utils import Paramspace

from l2o import config as l2o_config
from l2o.errors import L2OError
from l2o.jobs.versions import code_version, settings_version, upstream_version
from l2o.config.sweeps import read_sweep

try:
    CFG = l2o_config.build(config)
    for name in CFG.sweeps:
        read_sweep(CFG, name)  # complains about the table
except L2OError as error:
    print(f"config: {error}", file=sys.stderr)
    sys.exit(2)

RESULTS = f"results/{CFG.scale}"
CONFIG = f"{RESULTS}/config.json"
# Every job reads this file; it changes only when the configuration does, and what each job depends
# on in it is a parameter of its rule.
l2o_config.write(CFG, CONFIG)

# Jobs of one invocation share a parent run in MLflow.
os.environ.setdefault("L2O_INVOCATION", uuid.uuid4().hex)
# Huge pages for large arrays, where the C library is glibc: jobs take up to a fifth less time.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")

# A cluster sends SIGTERM to every process of a job before it takes the machine away. `l2o` then saves
# its state; the shell and `tee` must outlive it, or the log would lack the end.
shell.prefix("set -euo pipefail; trap '' TERM; ")


wildcard_constraints:
    task=r"[a-z0-9_]+",
    recipe=r"[a-z0-9_]+",
    ablation=r"[a-z0-9_]+",
    sweep=r"[a-z0-9_]+",
    row=r"[^~]+~.+",
    variant=r"[a-z0-9_]+",
    source=r"[a-z0-9_]+",
    where=r"[a-z0-9_]+",
    seed=r"\d+",


def get_memory(megabytes):
    """What a job asks of a cluster: more each time that it is tried again."""
    return lambda wildcards, attempt: megabytes * attempt


def get_folder(path, levels):
    for _ in range(levels):
        path = os.path.dirname(path)
    return path


def get_run_records(pattern, **values):
    return expand(f"{RESULTS}/{pattern}/run.json", **values)


def get_priority(wildcards):
    """First what most other jobs wait for."""
    if wildcards.recipe == CFG.select.recipe:
        return 10
    return sum(wildcards.recipe in ablation.recipes for ablation in CFG.ablations.values())


def get_meta_training(recipe):
    seeds = CFG.training_seeds(recipe)
    return get_run_records("meta_train/{recipe}/seed_{seed}", recipe=recipe, seed=seeds)


def get_ablation_runs(wildcards):
    ablation = CFG.ablations[wildcards.ablation]
    levels = get_ablation_levels(ablation)
    tasks = [*CFG.toy_evaluation_tasks, *ablation.tasks]
    return levels + get_run_records("baselines/{task}", task=tasks)


def get_compared_runs(recipe):
    """What a level of an ablation is made from."""
    if recipe in CFG.pretrained:
        return [CFG.pretrained[recipe].weights]
    seeds = CFG.meta_seeds
    return get_run_records("meta_train/{recipe}/seed_{seed}", recipe=recipe, seed=seeds)


def get_levels(recipes, places):
    return get_run_records("levels/{recipe}/{where}", recipe=recipes, where=places)


def get_ablation_levels(ablation):
    return get_levels(ablation.recipes, ["toy", *ablation.tasks])


def get_places(recipe):
    """Where any ablation evaluates a recipe."""
    used = [ablation for ablation in CFG.ablations.values() if recipe in ablation.recipes]
    return ["toy", *dict.fromkeys(task for ablation in used for task in ablation.tasks)]


def get_sweep_rows(sweep):
    # Texts, and columns that are identifiers: the folders are those of l2o.config.sweeps.
    table = pd.read_csv(CFG.sweeps[sweep].table, sep="\t", dtype=str, keep_default_na=False)
    table.columns = table.columns.str.replace(".", "_")
    return Paramspace(table, single_wildcard="row")


def get_row_files(sweep, name):
    return [
        f"{RESULTS}/sweeps/{sweep}/{row}/{name}" for row in get_sweep_rows(sweep).instance_patterns
    ]


def get_sweep_folder(path):
    # Of a file of one of its rows, below a folder for each column.
    return get_folder(path, path.count("~") + 1)


def get_contenders(wildcards):
    """Everything that takes part in the transfer evaluation."""
    files = {
        name: f"{RESULTS}/select/{file}"
        for name, file in (
            ("champion", "champion.json"),
            ("weights", "champion.safetensors"),
            ("untrained", "untrained.safetensors"),
        )
    }
    others = [
        f"{RESULTS}/meta_train/{recipe}/seed_{CFG.training_seeds(recipe)[0]}/run.json"
        for recipe in CFG.transfer.recipes
    ]
    return files | ({"others": others} if others else {})


def get_study_inputs(wildcards):
    drift = get_run_records("analysis/drift") if wildcards.study == "non_iid" else []
    return drift + get_run_records("analysis/recordings/{source}", source=CFG.analysis.sources)


def get_all_runs(wildcards):
    return [
        *get_run_records("baselines/{task}", task=CFG.toy_evaluation_tasks),
        *(record for recipe in CFG.usual_recipes for record in get_meta_training(recipe)),
        *get_run_records("select"),
        *get_run_records("tune"),
        *get_run_records("transfer/{task}", task=CFG.transfer.tasks),
        *get_run_records("transfer_summary"),
        *get_run_records("ablations/{name}", name=CFG.usual_ablations),
    ]


def get_all_levels(wildcards):
    levels = [get_ablation_levels(CFG.ablations[name]) for name in CFG.usual_ablations]
    return list(dict.fromkeys(record for records in levels for record in records))
