from l2o.report.sections import SECTIONS


rule track:
    input:
        get_all_runs,
    output:
        f"{RESULTS}/tracking.json",
    log:
        f"{RESULTS}/logs/track.log",
    localrule: True
    params:
        upstream=upstream_version(CFG, "track"),
        code=code_version("track"),
    message:
        "Bringing the runs into MLflow"
    shell:
        "l2o track sync --results results --out {output:q} 2>&1 | tee {log:q}"


rule report:
    input:
        get_all_runs,
        config=CONFIG,
        # Not read: beside each job it leaves the address of its run, to which the page links.
        tracking=f"{RESULTS}/tracking.json",
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
                caption=f"../report/{section}.rst",
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
        upstream=upstream_version(CFG, "report"),
        code=code_version("report"),
    message:
        "Writing {output.page}"
    shell:
        "l2o report --results {params.results:q} --out {output.page:q} 2>&1 | tee {log:q}"
