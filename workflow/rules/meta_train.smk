rule meta_train_run:
    input:
        config=ancient(CONFIG),
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
        settings=lambda wildcards: settings_version(CFG, "meta_train", wildcards.recipe),
        code=code_version("meta_train"),
    message:
        "Meta-training {wildcards.recipe}, seed {wildcards.seed}"
    shell:
        "l2o meta-train --config {input.config:q} --recipe {wildcards.recipe:q}"
        " --seed {wildcards.seed:q} --state {params.state:q} --out {params.out:q} 2>&1 | tee {log:q}"


rule meta_train:
    input:
        get_meta_training(CFG.select.recipe),
    localrule: True
