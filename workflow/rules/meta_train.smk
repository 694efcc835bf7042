rule meta_train:
    input:
        get_inputs("meta_train"),
    output:
        run=f"{RESULTS}/meta_train/{{recipe}}/seed_{{seed}}/run.json",
        metrics=f"{RESULTS}/meta_train/{{recipe}}/seed_{{seed}}/metrics.parquet",
        checkpoints=directory(f"{RESULTS}/meta_train/{{recipe}}/seed_{{seed}}/checkpoints"),
    log:
        f"{RESULTS}/logs/meta_train/{{recipe}}_seed_{{seed}}.log",
    priority: get_priority
    threads: 1
    resources:
        mem_mb=get_memory(8000),
    params:
        out=subpath(output.run, parent=True),
        # Not an output: Snakemake would delete what a killed job resumes from.
        state=f"{RESULTS}/.state/meta_train/{{recipe}}/seed_{{seed}}",
        config=CONFIG,
        version=get_version("meta_train"),
    message:
        "Meta-training {wildcards.recipe}, seed {wildcards.seed}"
    shell:
        "l2o meta-train --config {params.config:q} --expect {params.version:q}"
        " --recipe {wildcards.recipe:q}"
        " --seed {wildcards.seed:q} --state {params.state:q} --out {params.out:q} 2>&1 | tee {log:q}"


# A target for each recipe, and one for those of the whole pipeline.
for NAME in CFG.recipes:

    rule:
        name:
            f"meta_train_{NAME}"
        input:
            get_results(jobs.trainings(CFG, NAME)),
        localrule: True


rule all_meta_train:
    input:
        get_results(one for recipe in CFG.usual_recipes for one in jobs.trainings(CFG, recipe)),
    localrule: True
