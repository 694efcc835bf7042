rule report:
    input:
        get_all_runs,
        config=CONFIG,
    output:
        page=f"{RESULTS}/report.html",
        claims=f"{RESULTS}/claims.parquet",
    log:
        f"{RESULTS}/logs/report.log",
    localrule: True
    params:
        results=subpath(output.page, parent=True),
        code=code_version("report"),
    message:
        "Writing {output}"
    shell:
        "l2o report --results {params.results:q} --out {output.page:q} 2>&1 | tee {log:q}"


rule track:
    input:
        get_all_runs,
        report=f"{RESULTS}/report.html",
    output:
        f"{RESULTS}/tracking.json",
    log:
        f"{RESULTS}/logs/track.log",
    localrule: True
    params:
        code=code_version("track"),
    message:
        "Bringing the runs into MLflow"
    shell:
        "l2o track sync --results results --out {output:q} 2>&1 | tee {log:q}"
