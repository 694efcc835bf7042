# The configuration, and what rules get from the stages: inputs, and the version of each job.
import os
import re
import sys
import uuid

from l2o.choices import STUDIES
from l2o.config import files as l2o_config
from l2o.config.sweeps import read_sweep
from l2o.errors import L2OError
from l2o.pipeline import jobs
from l2o.pipeline.contract import job
from l2o.workflow.registry import input_files, output_files
from l2o.workflow.trials import miniature, rehearsal
from l2o.workflow.versions import Versions

try:
    CFG = l2o_config.build(config, "config", f"{workflow.basedir}/config")
    # Folders of the rows of every sweep; complains about their tables.
    ROWS = {name: [row.folder for row in read_sweep(CFG, name)] for name in CFG.sweeps}
except L2OError as error:
    print(f"config: {error}", file=sys.stderr)
    sys.exit(2)

RESULTS = f"results/{CFG.scale}"
# The scale itself, and it on trial; each has a folder of its own, the wildcard `results`.
CONFIGS = {
    RESULTS: CFG,
    f"{RESULTS}/.rehearsal": rehearsal(CFG),
    f"{RESULTS}/.miniature": miniature(CFG),
}
REHEARSAL, MINIATURE = [place for place in CONFIGS if place != RESULTS]
VERSIONS = {place: Versions(one) for place, one in CONFIGS.items()}

# Jobs of one invocation share a parent run in MLflow.
os.environ.setdefault("L2O_INVOCATION", uuid.uuid4().hex)
# Huge pages for large arrays, where the C library is glibc: jobs take up to a fifth less time.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")

# A cluster sends SIGTERM to every process of a job before it takes the machine away. `l2o` then saves
# its state; the shell and `tee` must outlive it, or the log would lack the end.
shell.prefix("set -euo pipefail; trap '' TERM; ")


wildcard_constraints:
    results="|".join(map(re.escape, CONFIGS)),
    task=r"[a-z0-9_]+",
    recipe=r"[a-z0-9_]+",
    ablation=r"[a-z0-9_]+",
    sweep=r"[a-z0-9_]+",
    row=r"[^~]+~.+",
    variant=r"[a-z0-9_]+",
    source=r"[a-z0-9_]+",
    where=r"[a-z0-9_]+",
    seed=r"\d+",


# What jobs read is written under the lock, never by a dry run or by an invocation that is refused. It
# is no input: Snakemake does not look at the parameters of what depends on something that changes.
onstart:
    if workflow.is_main_process:
        for results in get_places():
            l2o_config.write(CONFIGS[results], f"{results}/config.json")


def get_places():
    """The folders, `results`, of the jobs that are about to run."""
    wanted = {job.wildcards_dict.get("results", RESULTS) for job in workflow.dag.needrun_jobs()}
    return [results for results in CONFIGS if results in wanted | {RESULTS}]


def get_row_files(sweep, name):
    return [f"{{results}}/sweeps/{sweep}/{row}/{name}" for row in ROWS[sweep]]


def get_job(stage, wildcards, parts):
    """The job of a stage that wildcards name, and parts that are none of them."""
    named = {name: value for name, value in wildcards.items() if name != "results"}
    return job(stage, **named, **parts)


def get_inputs(stage, **parts):
    """What a job of a stage reads; its wildcards are the parts of its name."""
    return lambda wildcards: input_files(
        CONFIGS[wildcards.results], get_job(stage, wildcards, parts), wildcards.results
    )


def get_version(stage, **parts):
    """Changes with the settings and the code of a job, and with those of all that it reads from."""
    return lambda wildcards: VERSIONS[wildcards.results].version(get_job(stage, wildcards, parts))


def get_folder(name):
    """Where the jobs of an earlier stage have their folders."""
    return lambda wildcards: f"{wildcards.results}/{name.format(**wildcards)}"


def get_results(wanted, results=RESULTS):
    """What some jobs make first: their record."""
    return [output_files(CONFIGS[results], one, results)[0] for one in wanted]


def get_levels(configuration):
    """The levels of the ablations that are part of the whole pipeline."""
    names = configuration.usual_ablations
    return [one for name in names for one in jobs.levels_of(configuration, name)]


def get_memory(megabytes):
    """What a job asks of a cluster: more each time that it is tried again."""
    return lambda wildcards, attempt: megabytes * attempt


def get_priority(wildcards):
    """First what most other jobs wait for."""
    if wildcards.recipe == CFG.select.recipe:
        return 10
    return sum(wildcards.recipe in ablation.recipes for ablation in CFG.ablations.values())


def get_caption(section):
    """A section's own caption, or the one of all figures."""
    own = os.path.join(workflow.basedir, "workflow/report", f"{section}.rst")
    return f"../report/{section if os.path.exists(own) else 'figure'}.rst"
