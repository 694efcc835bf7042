# The configuration, and what rules get from the stages: inputs, and the version of each job.
import os
import sys
import uuid

from l2o.choices import STUDIES
from l2o.config import files as l2o_config
from l2o.config.sweeps import read_sweep
from l2o.errors import L2OError
from l2o.jobs.undelivered import failed_deliveries
from l2o.pipeline import jobs
from l2o.pipeline.contract import job
from l2o.workflow.registry import input_files, output_files
from l2o.workflow.trials import get_trial, on_trial
from l2o.workflow.versions import Versions

# `snakemake rehearse` and `snakemake miniature` try the scale, in a folder of its own. Snakemake hands
# the variable on to the processes of jobs, which have other targets.
os.environ["L2O_TRIAL"] = os.environ.get("L2O_TRIAL") or get_trial(sys.argv[1:])


envvars:
    "L2O_TRIAL",


try:
    SCALE = l2o_config.build(config, "config", f"{workflow.basedir}/config")
    CFG = on_trial(SCALE, os.environ["L2O_TRIAL"])
    # Folders of the rows of every sweep; complains about their tables.
    ROWS = {name: [row.folder for row in read_sweep(CFG, name)] for name in CFG.sweeps}
except L2OError as error:
    print(f"config: {error}", file=sys.stderr)
    sys.exit(2)

SCALE_RESULTS = f"results/{CFG.scale}"
RESULTS = SCALE_RESULTS if CFG.trial is None else f"{SCALE_RESULTS}/.{CFG.trial}"
CONFIG = f"{RESULTS}/config.json"
VERSIONS = Versions(CFG)


# What jobs read is written under the lock, never by a dry run or by an invocation that is refused. It
# is no input: Snakemake would not look at the parameters of what depends on a file that is made.
onstart:
    l2o_config.write(CFG, CONFIG)
    if CFG.trial is not None:
        l2o_config.write(SCALE, f"{RESULTS}/scale.json")


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


def get_row_files(sweep, name):
    return [f"{RESULTS}/sweeps/{sweep}/{row}/{name}" for row in ROWS[sweep]]


def get_inputs(stage, **parts):
    """What a job of a stage reads; its wildcards are the parts of its name."""
    return lambda wildcards: input_files(CFG, job(stage, **wildcards, **parts), RESULTS)


def get_version(stage, **parts):
    """Changes with the settings and the code of a job, and with those of all that it reads from."""
    return lambda wildcards: VERSIONS.version(job(stage, **wildcards, **parts))


def get_folder(name):
    """Where the jobs of an earlier stage have their folders."""
    return lambda wildcards: f"{RESULTS}/{name}"


def get_results(wanted):
    """What some jobs make first: their record."""
    return [output_files(CFG, one, RESULTS)[0] for one in wanted]


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
