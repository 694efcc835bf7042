rule select:
    input:
        get_inputs("select"),
    output:
        run="{results}/select/run.json",
        champion="{results}/select/champion.json",
        weights="{results}/select/champion.safetensors",
        untrained="{results}/select/untrained.safetensors",
        scores="{results}/select/scores.parquet",
        comparison="{results}/select/comparison.parquet",
    log:
        "{results}/logs/select.log",
    priority: 10
    threads: 1
    resources:
        mem_mb=get_memory(4000),
    params:
        out=subpath(output.run, parent=True),
        runs=get_folder("meta_train"),
        baselines=get_folder("baselines"),
        config="{results}/config.json",
        version=get_version("select"),
    message:
        "Choosing a checkpoint on the validation tasks"
    shell:
        "l2o select --config {params.config:q} --expect {params.version}"
        " --runs {params.runs:q}"
        " --baselines {params.baselines:q} --out {params.out:q} 2>&1 | tee {log:q}"
