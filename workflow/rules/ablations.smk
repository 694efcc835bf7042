rule ablation:
    input:
        get_ablation_runs,
        config=ancient(CONFIG),
    output:
        run=f"{RESULTS}/ablations/{{ablation}}/run.json",
        curves=f"{RESULTS}/ablations/{{ablation}}/curves.parquet",
        summary=f"{RESULTS}/ablations/{{ablation}}/summary.parquet",
    log:
        f"{RESULTS}/logs/ablations/{{ablation}}.log",
    threads: 1
    resources:
        mem_mb=4000,
    params:
        out=subpath(output.run, parent=True),
        runs=f"{RESULTS}/meta_train",
        settings=lambda wildcards: settings_version(CFG, "ablate", wildcards.ablation),
        code=code_version("ablate"),
    message:
        "Ablation {wildcards.ablation}"
    shell:
        "l2o ablate --config {input.config:q} --name {wildcards.ablation:q} --runs {params.runs:q}"
        " --out {params.out:q} 2>&1 | tee {log:q}"


rule ablation_gradient_processing:
    input:
        get_run_records("ablations/gradient_processing"),
    localrule: True


rule ablation_pipeline_training:
    input:
        get_run_records("ablations/pipeline_training"),
    localrule: True


rule ablation_inductive_bias:
    input:
        get_run_records("ablations/inductive_bias"),
    localrule: True


rule ablations:
    input:
        get_run_records("ablations/{name}", name=CFG.ablations),
    localrule: True
