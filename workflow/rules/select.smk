rule select:
    input:
        get_inputs("select"),
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
        runs=get_folder("meta_train"),
        baselines=get_folder("baselines"),
        config=CONFIG,
        version=get_version("select"),
    message:
        "Choosing a checkpoint on the validation tasks"
    shell:
        "l2o select --config {params.config:q} --expect {params.version:q}"
        " --runs {params.runs:q}"
        " --baselines {params.baselines:q} --out {params.out:q} 2>&1 | tee {log:q}"
