rule transfer_task:
    input:
        config=ancient(CONFIG),
        champion=f"{RESULTS}/select/champion.json",
        weights=f"{RESULTS}/select/champion.safetensors",
        untrained=f"{RESULTS}/select/untrained.safetensors",
    output:
        run=f"{RESULTS}/transfer/{{task}}/run.json",
        curves=f"{RESULTS}/transfer/{{task}}/curves.parquet",
        tuning=f"{RESULTS}/transfer/{{task}}/tuning.parquet",
    log:
        f"{RESULTS}/logs/transfer/{{task}}.log",
    priority: 10
    threads: 1
    resources:
        mem_mb=8000,
    params:
        out=subpath(output.run, parent=True),
        selection=subpath(input.champion, parent=True),
        settings=lambda wildcards: settings_version(CFG, "transfer", wildcards.task),
        code=code_version("transfer"),
    message:
        "Transfer to {wildcards.task}"
    shell:
        "l2o transfer --config {input.config:q} --selection {params.selection:q}"
        " --task {wildcards.task:q} --out {params.out:q} 2>&1 | tee {log:q}"


rule transfer:
    input:
        get_run_records("transfer/{task}", task=CFG.transfer.tasks),
    localrule: True
