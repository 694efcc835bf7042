rule baselines:
    input:
        get_inputs("baselines"),
    output:
        run=f"{RESULTS}/baselines/{{task}}/run.json",
        curves=f"{RESULTS}/baselines/{{task}}/curves.parquet",
        tuning=f"{RESULTS}/baselines/{{task}}/tuning.parquet",
        tuned=f"{RESULTS}/baselines/{{task}}/tuned.json",
    log:
        f"{RESULTS}/logs/baselines/{{task}}.log",
    # The selection waits for most, and the transfer, the longest job, for the selection.
    priority: lambda wildcards: 10 if wildcards.task in CFG.select.tasks else 5
    threads: 1
    resources:
        mem_mb=get_memory(4000),
    params:
        out=subpath(output.run, parent=True),
        config=CONFIG,
        version=get_version("baselines"),
    message:
        "Tuning classical optimizers on {wildcards.task}"
    shell:
        "l2o baselines --config {params.config:q} --expect {params.version:q}"
        " --task {wildcards.task:q} --out {params.out:q}"
        " 2>&1 | tee {log:q}"


rule all_baselines:
    input:
        get_results(job("baselines", task=task) for task in CFG.toy_evaluation_tasks),
    localrule: True
