rule level:
    input:
        lambda wildcards: get_compared_runs(wildcards.recipe),
        config=ancient(CONFIG),
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
        runs=f"{RESULTS}/meta_train",
        settings=lambda wildcards: settings_version(
            CFG, "level", f"{wildcards.recipe}/{wildcards.where}"
        ),
        upstream=lambda wildcards: upstream_version(CFG, "level", wildcards.recipe),
        code=code_version("level"),
    message:
        "Evaluating {wildcards.recipe} on {wildcards.where}"
    shell:
        "l2o level --config {input.config:q} --recipe {wildcards.recipe:q}"
        " --where {wildcards.where:q} --runs {params.runs:q} --out {params.out:q} 2>&1 | tee {log:q}"


rule ablation:
    input:
        get_ablation_runs,
        config=ancient(CONFIG),
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
        levels=f"{RESULTS}/levels",
        baselines=f"{RESULTS}/baselines",
        settings=lambda wildcards: settings_version(CFG, "ablate", wildcards.ablation),
        upstream=lambda wildcards: upstream_version(CFG, "ablate", wildcards.ablation),
        code=code_version("ablate"),
    message:
        "Ablation {wildcards.ablation}"
    shell:
        "l2o ablate --config {input.config:q} --name {wildcards.ablation:q}"
        " --levels {params.levels:q} --baselines {params.baselines:q} --out {params.out:q}"
        " 2>&1 | tee {log:q}"


# A target for each ablation, and for each of its levels.
for NAME in CFG.ablations:

    rule:
        name:
            f"ablation_{NAME}"
        input:
            get_run_records("ablations/{name}", name=NAME),
        localrule: True


for NAME in dict.fromkeys(recipe for item in CFG.ablations.values() for recipe in item.recipes):

    rule:
        name:
            f"level_{NAME}"
        input:
            get_levels([NAME], get_places(NAME)),
        localrule: True


rule ablations:
    input:
        get_run_records("ablations/{name}", name=CFG.usual_ablations),
    localrule: True
