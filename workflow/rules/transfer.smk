rule tune:
    input:
        get_inputs("tune"),
    output:
        run=f"{RESULTS}/tune/run.json",
        tuning=f"{RESULTS}/tune/tuning.parquet",
        tuned=f"{RESULTS}/tune/tuned.json",
    log:
        f"{RESULTS}/logs/tune.log",
    priority: 10
    threads: 1
    resources:
        mem_mb=get_memory(8000),
    params:
        out=subpath(output.run, parent=True),
        selection=get_folder("select"),
        runs=get_folder("meta_train"),
        # Not an output: Snakemake would delete what a killed job resumes from.
        state=f"{RESULTS}/.state/tune",
        config=CONFIG,
        version=get_version("tune"),
    message:
        "Tuning every learning rate for the transfer"
    shell:
        "l2o tune --config {params.config:q} --expect {params.version:q}"
        " --selection {params.selection:q} --runs {params.runs:q}"
        " --state {params.state:q} --out {params.out:q} 2>&1 | tee {log:q}"


rule transfer:
    input:
        get_inputs("transfer"),
    output:
        run=f"{RESULTS}/transfer/{{task}}/run.json",
        curves=f"{RESULTS}/transfer/{{task}}/curves.parquet",
        controls=f"{RESULTS}/transfer/{{task}}/controls.parquet",
        oracle=f"{RESULTS}/transfer/{{task}}/oracle.parquet",
        costs=f"{RESULTS}/transfer/{{task}}/costs.parquet",
    log:
        f"{RESULTS}/logs/transfer/{{task}}.log",
    priority: 10
    threads: 1
    resources:
        mem_mb=get_memory(8000),
    params:
        out=subpath(output.run, parent=True),
        selection=get_folder("select"),
        runs=get_folder("meta_train"),
        tuned=get_folder("tune"),
        state=f"{RESULTS}/.state/transfer/{{task}}",
        variant=[],
        config=CONFIG,
        version=get_version("transfer"),
    message:
        "Transfer to {wildcards.task}"
    shell:
        "l2o transfer --config {params.config:q} --expect {params.version:q}"
        " --selection {params.selection:q}"
        " --runs {params.runs:q} --tuned {params.tuned:q} --task {wildcards.task:q}"
        " {params.variant:q} --state {params.state:q} --out {params.out:q} 2>&1 | tee {log:q}"


use rule transfer as transfer_variant with:
    output:
        run=f"{RESULTS}/transfer_variants/{{task}}/{{variant}}/run.json",
        curves=f"{RESULTS}/transfer_variants/{{task}}/{{variant}}/curves.parquet",
        controls=f"{RESULTS}/transfer_variants/{{task}}/{{variant}}/controls.parquet",
        oracle=f"{RESULTS}/transfer_variants/{{task}}/{{variant}}/oracle.parquet",
        costs=f"{RESULTS}/transfer_variants/{{task}}/{{variant}}/costs.parquet",
    log:
        f"{RESULTS}/logs/transfer_variants/{{task}}/{{variant}}.log",
    params:
        out=subpath(output.run, parent=True),
        selection=get_folder("select"),
        runs=get_folder("meta_train"),
        tuned=get_folder("tune"),
        state=f"{RESULTS}/.state/transfer_variants/{{task}}/{{variant}}",
        variant=lambda wildcards: ["--variant", wildcards.variant],
        config=CONFIG,
        version=get_version("transfer"),
    message:
        "Transfer to {wildcards.task}, agents of variant {wildcards.variant}"


# A target for each test task, and for all; for agents off their presets.
for TASK in CFG.transfer.tasks:

    rule:
        name:
            f"transfer_{TASK}"
        input:
            get_results([job("transfer", task=TASK)]),
        localrule: True


rule all_transfer:
    input:
        get_results(jobs.transfers(CFG)),
    localrule: True


rule transfer_variants:
    input:
        get_results(
            job("transfer", task=task, variant=variant)
            for task in CFG.transfer.variant_tasks
            for variant in CFG.transfer.variants
        ),
    localrule: True


rule transfer_summary:
    input:
        get_inputs("transfer_summary"),
    output:
        run=f"{RESULTS}/transfer_summary/run.json",
        tables=expand(
            f"{RESULTS}/transfer_summary/{{table}}.parquet",
            table=["scores", "aggregates", "profiles", "improvement", "efficiency"],
        ),
        figures=expand(
            f"{RESULTS}/transfer_summary/{{figure}}.{{kind}}",
            figure=["learning_curves", "aggregates", "profile", "improvement", "efficiency"],
            kind=["svg", "png"],
        ),
    log:
        f"{RESULTS}/logs/transfer_summary.log",
    threads: 1
    resources:
        mem_mb=get_memory(2000),
    params:
        out=subpath(output.run, parent=True),
        transfer=get_folder("transfer"),
        config=CONFIG,
        version=get_version("transfer_summary"),
    message:
        "Aggregating the test tasks"
    shell:
        "l2o transfer-summary --config {params.config:q} --expect {params.version:q}"
        " --transfer {params.transfer:q}"
        " --out {params.out:q} 2>&1 | tee {log:q}"
