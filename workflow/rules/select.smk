rule select:
    input:
        config=ancient(CONFIG),
        runs=get_run_records(
            "meta_train/{recipe}/seed_{seed}", recipe=CFG.select.recipe, seed=CFG.selection_seeds
        ),
        baselines=get_run_records("baselines/{task}", task=CFG.select.tasks),
    output:
        run=f"{RESULTS}/select/run.json",
        champion=f"{RESULTS}/select/champion.json",
        weights=f"{RESULTS}/select/champion.safetensors",
        untrained=f"{RESULTS}/select/untrained.safetensors",
        scores=f"{RESULTS}/select/scores.parquet",
        comparison=f"{RESULTS}/select/comparison.parquet",
    log:
        f"{RESULTS}/logs/select.log",
    priority: 10
    threads: 1
    resources:
        mem_mb=get_memory(4000),
    params:
        out=subpath(output.run, parent=True),
        series=lambda wildcards, input: [get_folder(run, 1) for run in input.runs],
        baselines=lambda wildcards, input: get_folder(input.baselines[0], 2),
        settings=settings_version(CFG, "select"),
        upstream=upstream_version(CFG, "select"),
        code=code_version("select"),
    message:
        "Choosing a checkpoint on the validation tasks"
    shell:
        "l2o select --config {input.config:q} --runs {params.series:q}"
        " --baselines {params.baselines:q} --out {params.out:q} 2>&1 | tee {log:q}"
