rule level:
    input:
        get_inputs("level"),
    output:
        run=f"{RESULTS}/levels/{{recipe}}/{{where}}/run.json",
        curves=f"{RESULTS}/levels/{{recipe}}/{{where}}/curves.parquet",
    log:
        f"{RESULTS}/logs/levels/{{recipe}}_{{where}}.log",
    threads: 1
    resources:
        mem_mb=get_memory(4000),
    params:
        out=subpath(output.run, parent=True),
        runs=get_folder("meta_train"),
        config=CONFIG,
        version=get_version("level"),
    message:
        "Evaluating {wildcards.recipe} on {wildcards.where}"
    shell:
        "l2o level --config {params.config:q} --expect {params.version:q}"
        " --recipe {wildcards.recipe:q}"
        " --where {wildcards.where:q} --runs {params.runs:q} --out {params.out:q} 2>&1 | tee {log:q}"


rule ablate:
    input:
        get_inputs("ablate"),
    output:
        run=f"{RESULTS}/ablations/{{ablation}}/run.json",
        curves=f"{RESULTS}/ablations/{{ablation}}/curves.parquet",
        summary=f"{RESULTS}/ablations/{{ablation}}/summary.parquet",
        effects=f"{RESULTS}/ablations/{{ablation}}/effects.parquet",
        factors=f"{RESULTS}/ablations/{{ablation}}/factors.parquet",
    log:
        f"{RESULTS}/logs/ablations/{{ablation}}.log",
    threads: 1
    resources:
        mem_mb=get_memory(2000),
    params:
        out=subpath(output.run, parent=True),
        levels=get_folder("levels"),
        baselines=get_folder("baselines"),
        config=CONFIG,
        version=get_version("ablate"),
    message:
        "Ablation {wildcards.ablation}"
    shell:
        "l2o ablate --config {params.config:q} --expect {params.version:q}"
        " --ablation {wildcards.ablation:q}"
        " --levels {params.levels:q} --baselines {params.baselines:q} --out {params.out:q}"
        " 2>&1 | tee {log:q}"


# A target for each ablation, and for each of its levels.
for NAME in CFG.ablations:

    rule:
        name:
            f"ablation_{NAME}"
        input:
            get_results([job("ablate", ablation=NAME)]),
        localrule: True


LEVELS = dict.fromkeys(one for name in CFG.ablations for one in jobs.levels_of(CFG, name))
for NAME in dict.fromkeys(one.named["recipe"] for one in LEVELS):

    rule:
        name:
            f"level_{NAME}"
        input:
            get_results(one for one in LEVELS if one.named["recipe"] == NAME),
        localrule: True


rule ablations:
    input:
        get_results(job("ablate", ablation=name) for name in CFG.usual_ablations),
    localrule: True
