rule select:
    input:
        config=ancient(CONFIG),
        run=f"{RESULTS}/meta_train/{CFG.select.recipe}/seed_{CFG.meta_seeds[0]}/run.json",
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
        mem_mb=4000,
    params:
        out=subpath(output.run, parent=True),
        series=subpath(input.run, parent=True),
        baselines=lambda wildcards, input: get_folder(input.baselines[0], 2),
        settings=settings_version(CFG, "select"),
        code=code_version("select"),
    message:
        "Choosing a checkpoint on the validation tasks"
    shell:
        "l2o select --config {input.config:q} --run {params.series:q}"
        " --baselines {params.baselines:q} --out {params.out:q} 2>&1 | tee {log:q}"
