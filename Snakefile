# Meta-train optimizers for RL on toy tasks, select one, test it on Brax, ablate, report.
#
#   snakemake --cores all                          everything at scale quick
#   snakemake --cores all --config scale=smoke     everything, tiny
#   snakemake --cores all ablation_inductive_bias  one ablation
#   snakemake --cores all analysis                 studies of gradients, which `all` leaves out
#   snakemake --cores all sweep_meta_learning_rate a sweep, which `all` leaves out
#   snakemake --cores all --profile slurm          on a cluster
from snakemake.utils import min_version

from l2o.config.files import find

min_version("9.0")


# That of the working directory if there is one, else the one beside this file.
configfile: find("config/config.yaml", workflow.basedir)


report: "workflow/report/workflow.rst"


# The environment is made by `make` or pip from requirements.lock; this names an image for
# `--software-deployment-method apptainer` and does nothing otherwise.
container: "docker://python:3.12-slim"


include: "workflow/rules/common.smk"
include: "workflow/rules/baselines.smk"
include: "workflow/rules/meta_train.smk"
include: "workflow/rules/select.smk"
include: "workflow/rules/sweeps.smk"
include: "workflow/rules/transfer.smk"
include: "workflow/rules/ablations.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        f"{RESULTS}/report.html",
        f"{RESULTS}/tracking.json",
        # Named, because what is missing of results that nothing else asks for is not made again.
        get_results(jobs.usual(CFG)),
        get_results(jobs.usual_levels(CFG)),
    localrule: True


# Every stage of the scale, also those that `all` leaves out, with the least budgets: does it work?
rule miniature:
    input:
        f"{RESULTS}/report.html",
        get_results(jobs.usual_levels(CFG)),
        get_results(jobs.analyses(CFG)),
    localrule: True


# Every kind of job once, at the sizes of the scale: does it fit, and how long will it take?
rule rehearse:
    input:
        get_results(jobs.usual_levels(CFG)),
        report=f"{RESULTS}/report.html",
    output:
        f"{SCALE_RESULTS}/rehearsal.tsv",
    log:
        f"{RESULTS}/logs/rehearse.log",
    localrule: True
    params:
        rehearsal=subpath(input.report, parent=True),
    message:
        "What this scale will take: {output}"
    shell:
        "l2o forecast --rehearsal {params.rehearsal:q} --out {output:q} 2>&1 | tee {log:q}"
