# Studies of gradients; not part of `all`. The report shows those that were made.
rule record:
    input:
        get_inputs("record"),
    output:
        run=f"{RESULTS}/analysis/recordings/{{source}}/run.json",
        histograms=f"{RESULTS}/analysis/recordings/{{source}}/histograms.parquet",
        tensors=f"{RESULTS}/analysis/recordings/{{source}}/tensors.parquet",
        time=f"{RESULTS}/analysis/recordings/{{source}}/time.parquet",
        noise=f"{RESULTS}/analysis/recordings/{{source}}/noise.parquet",
        samples=f"{RESULTS}/analysis/recordings/{{source}}/samples.safetensors",
    log:
        f"{RESULTS}/logs/analysis/recordings/{{source}}.log",
    priority: 10
    threads: 1
    resources:
        mem_mb=get_memory(4000),
    params:
        out=subpath(output.run, parent=True),
        config=CONFIG,
        version=get_version("record"),
    message:
        "Recording the gradients of {wildcards.source}"
    shell:
        "l2o record --config {params.config:q} --expect {params.version:q}"
        " --source {wildcards.source:q} --out {params.out:q}"
        " 2>&1 | tee {log:q}"


rule drift:
    input:
        get_inputs("drift"),
    output:
        run=f"{RESULTS}/analysis/drift/run.json",
        drift=f"{RESULTS}/analysis/drift/drift.parquet",
    log:
        f"{RESULTS}/logs/analysis/drift.log",
    threads: 1
    resources:
        mem_mb=get_memory(4000),
    params:
        out=subpath(output.run, parent=True),
        config=CONFIG,
        version=get_version("drift"),
    message:
        "Recording what meta-training sees with and without pipeline training"
    shell:
        "l2o drift --config {params.config:q} --expect {params.version:q}"
        " --out {params.out:q} 2>&1 | tee {log:q}"


rule study:
    input:
        get_inputs("study"),
    output:
        run=f"{RESULTS}/analysis/{{study}}/run.json",
    log:
        f"{RESULTS}/logs/analysis/{{study}}.log",
    wildcard_constraints:
        study="|".join(STUDIES),
    threads: 1
    resources:
        mem_mb=get_memory(2000),
    params:
        out=subpath(output.run, parent=True),
        recordings=get_folder("analysis/recordings"),
        drift=get_folder("analysis/drift"),
        config=CONFIG,
        version=get_version("study"),
    message:
        "Study of gradients: {wildcards.study}"
    shell:
        "l2o study --config {params.config:q} --expect {params.version:q}"
        " --study {wildcards.study:q}"
        " --recordings {params.recordings:q} --drift {params.drift:q} --out {params.out:q}"
        " 2>&1 | tee {log:q}"


rule identity:
    input:
        get_inputs("identity"),
    output:
        run=f"{RESULTS}/analysis/identity/{{source}}/run.json",
        table=f"{RESULTS}/analysis/identity/{{source}}/identity.parquet",
    log:
        f"{RESULTS}/logs/analysis/identity/{{source}}.log",
    threads: 1
    resources:
        mem_mb=get_memory(2000),
    params:
        out=subpath(output.run, parent=True),
        recordings=get_folder("analysis/recordings"),
        config=CONFIG,
        version=get_version("identity"),
    message:
        "Networks learn to reproduce the gradients of {wildcards.source}"
    shell:
        "l2o identity --config {params.config:q} --expect {params.version:q}"
        " --source {wildcards.source:q}"
        " --recordings {params.recordings:q} --out {params.out:q} 2>&1 | tee {log:q}"


# A target for each study, and one for all.
for NAME in STUDIES:

    rule:
        name:
            f"analysis_{NAME}"
        input:
            get_results([job("study", study=NAME)]),
        localrule: True


rule analysis_identity:
    input:
        get_results(job("identity", source=source) for source in CFG.analysis.identity.sources),
    localrule: True


rule analysis:
    input:
        get_results(job("study", study=study) for study in STUDIES),
        get_results(job("identity", source=source) for source in CFG.analysis.identity.sources),
    localrule: True
