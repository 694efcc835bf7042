import pytest
from score_curves import OPTIMIZERS, noisy

from l2o.cli import main
from l2o.config import files as config
from l2o.files import read_json, read_table, write_table
from l2o.jobs.reading import find_jobs
from l2o.statistics.columns.comparisons import SUMMARY_TABLES


@pytest.fixture
def summarise(tmp_path):
    """Run the stage on tasks with so many seeds; return its folder."""

    def run(seeds, *tasks):
        settings = config.build(
            config.read_yaml("config/config.yaml") | {"transfer": {"tasks": list(tasks)}}
        )
        config.write(settings, tmp_path / "config.json")
        for task in tasks:
            labels = (*OPTIMIZERS, "sign")
            write_table(tmp_path / f"transfer/{task}/curves.parquet", noisy(task, seeds, labels))
        out = tmp_path / "transfer_summary"
        arguments = ["--config", tmp_path / "config.json", "--transfer", tmp_path / "transfer"]
        code = main(["transfer-summary", *map(str, arguments), "--out", str(out)])
        assert code == 0
        return out

    return run


def test_stage_writes_tables_and_figures(summarise, capsys):
    out = summarise(5, "hopper", "inverted_double_pendulum")
    for name, columns in SUMMARY_TABLES.items():
        table = read_table(out / f"{name}.parquet", columns)
        assert list(table.columns) == list(columns) and len(table)
        assert "low" not in table or table["low"].notna().all()
    (job,) = find_jobs(out.parent, [])
    figures = {path.name for path in job.artifacts() if path.suffix in (".svg", ".png")}
    names = ("learning_curves", "aggregates", "profile", "improvement", "efficiency")
    assert figures == {f"{name}.{kind}" for name in names for kind in ("svg", "png")}
    assert read_json(out / "run.json")["results"]["iqm/champion"] > 0
    assert "no intervals" not in capsys.readouterr().out


def test_stage_says_that_there_are_no_intervals(summarise, capsys):
    out = summarise(2, "hopper")
    assert "no intervals: fewer than 3 seeds" in capsys.readouterr().out
    assert read_table(out / "aggregates.parquet")["low"].isna().all()
    assert (out / "aggregates.png").is_file()
