# Rows that share a job: a rule for each sweep, as the number of its outputs is its own.
for SWEEP in CFG.sweeps:
    if CFG.sweeps[SWEEP].one_program:

        rule:
            name:
                f"train_sweep_{SWEEP}"  # no sweep can be called so that names collide
            input:
                get_inputs("sweep", sweep=SWEEP),
            output:
                runs=get_row_files(SWEEP, "run.json"),
                checkpoints=directory(get_row_files(SWEEP, "checkpoints")),
            log:
                f"{RESULTS}/logs/sweeps/{SWEEP}/train.log",
            threads: CFG.sweeps[SWEEP].devices
            resources:
                mem_mb=get_memory(16000),
                runtime=lambda wildcards, attempt: 720 * attempt,  # no profile can name this rule
            params:
                sweep=SWEEP,
                devices=CFG.sweeps[SWEEP].devices,
                out=get_folder(f"sweeps/{SWEEP}"),
                # Not an output: Snakemake would delete what a killed job resumes from.
                state=f"{RESULTS}/.state/sweeps/{SWEEP}",
                config=CONFIG,
                version=get_version("sweep", sweep=SWEEP),
            message:
                "Meta-training all rows of sweep {params.sweep}"
            shell:
                "l2o sweep --config {params.config:q} --expect {params.version:q}"
                " --sweep {params.sweep:q}"
                " --state {params.state:q} --devices {params.devices} --out {params.out:q}"
                " 2>&1 | tee {log:q}"


rule sweep:
    input:
        get_inputs("sweep"),
    output:
        run=f"{RESULTS}/sweeps/{{sweep}}/{{row}}/run.json",
        checkpoints=directory(f"{RESULTS}/sweeps/{{sweep}}/{{row}}/checkpoints"),
    log:
        f"{RESULTS}/logs/sweeps/{{sweep}}/{{row}}.log",
    wildcard_constraints:
        sweep="|".join(n for n in CFG.sweeps if not CFG.sweeps[n].one_program) or "-",
    threads: 1
    resources:
        mem_mb=get_memory(8000),
    params:
        out=lambda wildcards: f"{RESULTS}/sweeps/{wildcards.sweep}",
        state=f"{RESULTS}/.state/sweeps/{{sweep}}/{{row}}",
        config=CONFIG,
        version=get_version("sweep"),
    message:
        "Meta-training {wildcards.row} of sweep {wildcards.sweep}"
    shell:
        "l2o sweep --config {params.config:q} --expect {params.version:q}"
        " --sweep {wildcards.sweep:q} --row {wildcards.row:q}"
        " --state {params.state:q} --out {params.out:q} 2>&1 | tee {log:q}"


rule score_sweep:
    input:
        get_inputs("score_sweep"),
    output:
        run=f"{RESULTS}/sweeps/{{sweep}}/run.json",
        scores=f"{RESULTS}/sweeps/{{sweep}}/scores.parquet",
        best=f"{RESULTS}/sweeps/{{sweep}}/best.json",
    log:
        f"{RESULTS}/logs/sweeps/{{sweep}}/score.log",
    threads: 1
    resources:
        mem_mb=get_memory(4000),
    params:
        out=subpath(output.run, parent=True),
        baselines=get_folder("baselines"),
        config=CONFIG,
        version=get_version("score_sweep"),
    message:
        "Scoring the checkpoints of sweep {wildcards.sweep} on the validation tasks"
    shell:
        "l2o score-sweep --config {params.config:q} --expect {params.version:q}"
        " --sweep {wildcards.sweep:q} --runs {params.out:q}"
        " --baselines {params.baselines:q} --out {params.out:q} 2>&1 | tee {log:q}"


for SWEEP in CFG.sweeps:

    rule:
        name:
            f"sweep_{SWEEP}"
        input:
            f"{RESULTS}/sweeps/{SWEEP}/best.json",
        localrule: True
