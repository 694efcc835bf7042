# Studies of gradients; not part of `all`. The report shows those that were made.
rule record:
    input:
        get_inputs("record"),
    output:
        run="{results}/analysis/recordings/{source}/run.json",
        histograms="{results}/analysis/recordings/{source}/histograms.parquet",
        tensors="{results}/analysis/recordings/{source}/tensors.parquet",
        time="{results}/analysis/recordings/{source}/time.parquet",
        noise="{results}/analysis/recordings/{source}/noise.parquet",
        samples="{results}/analysis/recordings/{source}/samples.safetensors",
    log:
        "{results}/logs/analysis/recordings/{source}.log",
    priority: 10
    threads: 1
    resources:
        mem_mb=get_memory(4000),
    params:
        out=subpath(output.run, parent=True),
        config="{results}/config.json",
        version=get_version("record"),
    message:
        "Recording the gradients of {wildcards.source}"
    shell:
        "l2o record --config {params.config:q} --expect {params.version}"
        " --source {wildcards.source:q} --out {params.out:q}"
        " 2>&1 | tee {log:q}"


rule drift:
    input:
        get_inputs("drift"),
    output:
        run="{results}/analysis/drift/run.json",
        drift="{results}/analysis/drift/drift.parquet",
    log:
        "{results}/logs/analysis/drift.log",
    threads: 1
    resources:
        mem_mb=get_memory(4000),
    params:
        out=subpath(output.run, parent=True),
        config="{results}/config.json",
        version=get_version("drift"),
    message:
        "Recording what meta-training sees with and without pipeline training"
    shell:
        "l2o drift --config {params.config:q} --expect {params.version}"
        " --out {params.out:q} 2>&1 | tee {log:q}"


rule study:
    input:
        get_inputs("study"),
    output:
        run="{results}/analysis/{study}/run.json",
    log:
        "{results}/logs/analysis/{study}.log",
    wildcard_constraints:
        study="|".join(STUDIES),
    threads: 1
    resources:
        mem_mb=get_memory(2000),
    params:
        out=subpath(output.run, parent=True),
        recordings=get_folder("analysis/recordings"),
        drift=get_folder("analysis/drift"),
        config="{results}/config.json",
        version=get_version("study"),
    message:
        "Study of gradients: {wildcards.study}"
    shell:
        "l2o study --config {params.config:q} --expect {params.version}"
        " --study {wildcards.study:q}"
        " --recordings {params.recordings:q} --drift {params.drift:q} --out {params.out:q}"
        " 2>&1 | tee {log:q}"


rule identity:
    input:
        get_inputs("identity"),
    output:
        run="{results}/analysis/identity/{source}/run.json",
        table="{results}/analysis/identity/{source}/identity.parquet",
    log:
        "{results}/logs/analysis/identity/{source}.log",
    threads: 1
    resources:
        mem_mb=get_memory(2000),
    params:
        out=subpath(output.run, parent=True),
        recordings=get_folder("analysis/recordings"),
        config="{results}/config.json",
        version=get_version("identity"),
    message:
        "Networks learn to reproduce the gradients of {wildcards.source}"
    shell:
        "l2o identity --config {params.config:q} --expect {params.version}"
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
