from l2o.report.sections import SECTIONS


rule track:
    input:
        get_inputs("track"),
    output:
        f"{RESULTS}/tracking.json",
    log:
        f"{RESULTS}/logs/track.log",
    localrule: True
    params:
        version=get_version("track"),
        # Changes when a delivery failed, so that the next run of the workflow tries again.
        failed=lambda wildcards: failed_deliveries("results"),
    message:
        "Bringing the runs into MLflow"
    shell:
        "l2o track sync --results results --out {output:q} 2>&1 | tee {log:q}"


rule report:
    input:
        get_inputs("report"),
    output:
        page=report(
            f"{RESULTS}/report.html",
            caption="../report/page.rst",
            category="Report",
            labels={"result": "everything on one page"},
        ),
        claims=report(
            f"{RESULTS}/claims.parquet",
            caption="../report/claims.rst",
            category="Report",
            labels={"result": "claims with verdicts, as a table to download"},
        ),
        figures=[
            report(
                directory(f"{RESULTS}/figures/{section}"),
                patterns=["{figure}.svg"],
                caption=get_caption(section),
                category=title,
                labels={"figure": "{figure}"},
            )
            for section, title in SECTIONS.items()
        ],
    log:
        f"{RESULTS}/logs/report.log",
    localrule: True
    params:
        results=subpath(output.page, parent=True),
        # For the captions.
        seeds={
            "toy": CFG.baselines.seeds,
            "selection": CFG.select.seeds,
            "transfer": CFG.transfer.seeds,
            "ablations": CFG.evaluation_seeds,
            "meta_training": len(CFG.meta_seeds),
            "gradients": CFG.analysis.seeds,
        },
        config=CONFIG,
        version=get_version("report"),
    message:
        "Writing {output.page}"
    shell:
        "l2o report --config {params.config:q} --expect {params.version:q}"
        " --results {params.results:q} --out {output.page:q} 2>&1 | tee {log:q}"
