import functools
import json

import jax
import numpy as np
import pandas as pd
import pytest
from places import ROOT
from safetensors.numpy import load_file
from snakemake.utils import Paramspace
from staging import run_stage

import l2o.evaluation.selection
import l2o.meta.sweep
from l2o.cli import main
from l2o.config import files as config
from l2o.config.parts import toy_trainings
from l2o.config.sweeps import find_row, read_sweep, split_row
from l2o.errors import ConfigError, L2OError
from l2o.evaluation.candidates import checkpoint_series, resolve
from l2o.evaluation.selection import score_checkpoints
from l2o.evaluation.sweep import best_setting
from l2o.jobs.record import Run
from l2o.meta.train import Member, meta_train
from l2o.statistics.columns.evaluation import CURVE_COLUMNS

pytestmark = pytest.mark.long

FOLDER = ROOT / "config"
TINY = {
    "optimizer": {"name": "linear"},
    "agents": 2,
    "environments": 1,
    "unroll": 2,
    "outer_steps": 4,
    "resets": "none",
    "meta_learning_rate": 0.01,
    "log_interval": 2,
    "checkpoint_interval": 2,
}
RATES = "meta_learning_rate\tseed\n0.01\t0\n0.003\t1\n"
STEPS = (0, 2, 4)


def build(table, **changes):
    """Return a configuration with the sweep `one` of a tiny recipe."""
    settings = {
        "scale": "smoke",
        "recipe": {"tasks": [{"task": "catch", "torso": "D32", "learning_rate": 0.1}]},
        "recipes": {"tiny": TINY | changes},
        "toy_tasks": {"small_dense_short": {"environments": 4, "updates": 20, "points": 2}},
        "select": {"tasks": ["small_dense_short"], "seeds": 2},
        "sweeps": {"one": {"recipe": "tiny", "table": str(table)}},
    }
    shipped = config.read_yaml(FOLDER / "config.yaml")
    return config.build(config.merge(shipped, settings), FOLDER)


@pytest.fixture
def read(tmp_path):
    """Read a table of the sweep `one`."""

    def read(text):
        path = tmp_path / "table.tsv"
        path.write_text(text)
        return read_sweep(build(path), "one")

    return read


# Tables


def test_rows(read):
    rows = read("meta_learning_rate\toptimizer.name\tmeta_grad_clip\tseed\n1e-3\tlinear\tnull\t3\n")
    (row,) = rows
    assert row.folder == "meta_learning_rate~1e-3/optimizer_name~linear/meta_grad_clip~null/seed~3"
    assert row.seed == 3 and row.recipe.meta_learning_rate == 1e-3
    assert row.recipe.meta_grad_clip is None and row.recipe.agents == TINY["agents"]
    assert split_row(row)["meta_grad_clip"] == "null"
    assert find_row(rows, row.folder) is row


def test_a_nested_column_replaces_one_key(read):
    first, second = read("optimizer.name\noptim4rl_a\nl2lgd2\n")
    assert first.recipe.optimizer == {"name": "optim4rl_a"} and first.seed == 0
    assert second.recipe.optimizer == {"name": "l2lgd2"}
    (row,) = read("optimizer.processing\nclip\n")
    assert row.recipe.optimizer == {"name": "linear", "processing": "clip"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unrol\n3\n", "row 1: unrol: unknown key"),
        ("unroll.x\n3\n", "row 1: unroll: input should be a valid integer"),
        ("unroll\n3\nmany\n", "row 2: unroll: input should be .*; got 'many'"),
        ("outer_steps\n3\n", "row 1: outer_steps must be a multiple of checkpoint_interval"),
        ("seed\n0.5\n", "row 1: seed must be a whole number; got 0.5"),
        ("seed\n-1\n", "row 1: seed must be a whole number; got -1"),
        ("seed\ntrue\n", "row 1: seed must be a whole number; got True"),
        ("seed\n2026-99-99\n", "row 1: seed: '2026-99-99' is not a YAML value"),
        ("seed\tunroll\n0\n", "row 1 does not have one value per column"),
        ("seed\n0\t1\n", "row 1 does not have one value per column"),
        ("seed\tunroll\n0\t\n", "row 1 does not have one value per column"),
        ("seed\tseed\n0\t1\n", "a column is there twice"),
        ("optimizer.name\toptimizer_name\nlinear\tlinear\n", "a column is there twice"),
        ("optimizer.name\na/b\n", "row 1: 'a/b' is not of letters, digits, _ . \\+ and - alone"),
        ("optimizer.name\n{x}\n", "row 1: '{x}' is not of letters"),
        ("un roll\n3\n", "columns: 'un roll' is not of letters"),
        ("seed\n0\n1\n0\n", "a row is there twice"),
        ("seed\n", "has no rows"),
        ("", "has no rows"),
    ],
)
def test_refused_tables(read, tmp_path, text, message):
    with pytest.raises(ConfigError, match=f"^{tmp_path}/table.tsv: {message}") as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_missing_table_sweep_and_row(tmp_path, read):
    settings = build(tmp_path / "none.tsv")
    with pytest.raises(ConfigError, match=r"none\.tsv: no such file\.$"):
        read_sweep(settings, "one")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_sweep(build(tmp_path), "one")
    with pytest.raises(L2OError, match=r"unknown sweep 'one_'\. Did you mean 'one'"):
        read_sweep(settings, "one_")
    with pytest.raises(L2OError, match=r"unknown row 'seed~2'\. Did you mean 'seed~"):
        find_row(read("seed\n0\n1\n"), "seed~2")
    with pytest.raises(ConfigError, match=r"sweeps\.one\.recipe: unknown recipe 'tin'"):
        config.build(
            config.merge(
                config.read_yaml(FOLDER / "config.yaml") | {"scale": "smoke"},
                {"sweeps": {"one": {"recipe": "tin", "table": "x"}}},
            ),
            FOLDER,
        )


@pytest.mark.parametrize(
    "text",
    [
        RATES,
        (FOLDER / "sweeps/meta_learning_rate.tsv").read_text(),
        "meta_grad_clip\toptimizer.name\tmeta_decay\nnull\tlinear\t1.00\n1e+1\tl2lgd2\t0.50\n",
        "timeout_terminates\tseed\ntrue\t007\nno\t0\n",
    ],
)
def test_folders_are_those_of_the_workflow(read, tmp_path, text):
    rows = read(text)
    # As in workflow/rules/common.smk.
    table = pd.read_csv(tmp_path / "table.tsv", sep="\t", dtype=str, keep_default_na=False)
    table.columns = table.columns.str.replace(".", "_")
    space = Paramspace(table, single_wildcard="row")
    assert list(space.instance_patterns) == [row.folder for row in rows]


def test_the_shipped_sweep(monkeypatch):
    monkeypatch.chdir(FOLDER.parent)
    settings = config.build(config.read_yaml(FOLDER / "config.yaml"), FOLDER)
    rows = read_sweep(settings, "meta_learning_rate")
    assert {(row.recipe.meta_learning_rate, row.seed) for row in rows} == {
        (rate, seed) for rate in (0.001, 0.003, 0.01) for seed in (0, 1)
    }


# Which runs are made


@pytest.fixture
def trained(monkeypatch):
    """Calls of a stand-in for meta-training, which can be told to stop at the n-th."""
    calls = []

    def stand_in(members, state, tags, code, devices):
        if len(calls) == stand_in.stop:
            raise KeyboardInterrupt
        calls.append([member.out.as_posix().split("out/")[1] for member in members])
        for member in members:
            with Run(member.out, stage="x", config=member.recipe.model_dump(), seed=member.seed):
                pass

    stand_in.stop = None
    monkeypatch.setattr(l2o.meta.sweep, "meta_train", stand_in)
    calls_and_stop = pytest.MonkeyPatch()
    yield calls, functools.partial(calls_and_stop.setattr, stand_in, "stop")
    calls_and_stop.undo()


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("unroll\tseed\n2\t0\n4\t0\n2\t1\n")
    return path


GROUPS = [["unroll~2/seed~0", "unroll~2/seed~1"], ["unroll~4/seed~0"]]


def test_rows_that_cannot_share_a_program_are_several_groups(trained, table, tmp_path):
    calls, _ = trained
    run_stage("sweep", build(table), sweep="one", out=tmp_path / "out", state=tmp_path / "state")
    assert calls == GROUPS
    assert not (tmp_path / "state").exists()


def test_what_is_finished_is_not_run_again(trained, table, tmp_path):
    calls, _ = trained

    def run(settings):
        run_stage("sweep", settings, sweep="one", out=tmp_path / "out", state=tmp_path / "state")

    run(build(table))
    calls.clear()
    run(build(table))
    assert calls == []
    run(build(table, meta_learning_rate=0.02))
    assert calls == GROUPS
    calls.clear()
    table.write_text("unroll\tseed\n2\t0\n4\t5\n2\t1\n")
    run(build(table, meta_learning_rate=0.02))
    assert calls == [["unroll~4/seed~5"]]


def test_a_group_outlives_the_deletion_of_outputs(trained, table, tmp_path):
    calls, stop_at = trained
    out, state = tmp_path / "out", tmp_path / "state"
    stop_at(1)
    with pytest.raises(KeyboardInterrupt):
        run_stage("sweep", build(table), sweep="one", out=out, state=state)
    assert calls == GROUPS[:1]
    for path in out.rglob("run.json"):  # as Snakemake does
        path.unlink()
    stop_at(None)
    run_stage("sweep", build(table), sweep="one", out=out, state=state)
    assert calls == GROUPS
    assert {path.parent.relative_to(out).as_posix() for path in out.rglob("run.json")} == {
        *GROUPS[0],
        *GROUPS[1],
    }
    assert not state.exists()


def test_one_row(trained, table, tmp_path):
    calls, _ = trained
    config.write(build(table), tmp_path / "config.json")
    common = ["sweep", "--config", f"{tmp_path}/config.json", "--sweep", "one"]
    arguments = [*common, "--out", f"{tmp_path}/out", "--row"]
    assert main([*arguments, "unroll~2/seed~1"]) == 0
    assert calls == [["unroll~2/seed~1"]]
    assert main([*arguments, "unroll~2/seed~7"]) == 2


# Training and scoring


@pytest.fixture(scope="module")
def unoptimised():
    """These programs run for moments: compiling them is all the time there is."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def swept(unoptimised, tmp_path_factory):
    """A real sweep of two rows, made by the command line."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "table.tsv").write_text(RATES)
    settings = build(folder / "table.tsv")
    config.write(settings, folder / "config.json")
    common = ["sweep", "--config", f"{folder}/config.json", "--sweep", "one"]
    assert main([*common, "--out", f"{folder}/runs", "--state", f"{folder}/state"]) == 0
    return settings, folder


@pytest.mark.slow
def test_each_row_is_a_run_of_its_own(swept, tmp_path):
    settings, folder = swept
    for row in read_sweep(settings, "one"):
        alone, together = tmp_path / row.folder, folder / "runs" / row.folder
        meta_train([Member(row.recipe, "tiny", row.seed, alone)], tmp_path / "state", {}, "code")
        for step in STEPS:
            name = f"checkpoints/step_{step:06d}.safetensors"
            expected, actual = load_file(alone / name), load_file(together / name)
            assert expected.keys() == actual.keys()
            for key in expected:
                np.testing.assert_allclose(actual[key], expected[key], rtol=1e-4, atol=1e-7)
        untrained = load_file(together / "checkpoints/step_000000.safetensors")
        assert any((untrained[key] != actual[key]).any() for key in actual)  # it did learn
        expected, actual = (pd.read_parquet(f / "metrics.parquet") for f in (alone, together))
        assert expected["step"].tolist() == actual["step"].tolist() == [2, 4]
        np.testing.assert_allclose(actual[expected.columns], expected, rtol=1e-4, atol=1e-6)
        record = json.loads((together / "run.json").read_text())
        assert (record["seed"], record["tags"]["sweep"]) == (row.seed, "one")
        assert record["config"]["meta_learning_rate"] == row.recipe.meta_learning_rate
    assert not (folder / "state").exists()


@pytest.fixture(scope="module")
def baselines(tmp_path_factory):
    """Learning curves of Adam and of a random policy, made up."""
    folder = tmp_path_factory.mktemp("baselines")
    rows = [
        dict.fromkeys(CURVE_COLUMNS, 0) | {"seed": seed, "update": update, "return": 0.5 + seed}
        for seed in (0, 1)
        for update in (2, 4)
    ]
    adam = pd.DataFrame(rows).assign(task="small_dense_short", optimizer="adam")
    curves = pd.concat([adam, adam.assign(**{"optimizer": "random", "return": 0.0})])
    (folder / "small_dense_short").mkdir()
    curves.to_parquet(folder / "small_dense_short/curves.parquet")
    return folder


def test_scores(swept, baselines, tmp_path, monkeypatch):
    settings, folder = swept
    rows, calls = read_sweep(settings, "one"), []
    evaluate = l2o.evaluation.selection.evaluate

    def counted(*args):
        calls.append(len(args[2]))
        return evaluate(*args)

    monkeypatch.setattr(l2o.evaluation.selection, "evaluate", counted)
    places = {"runs": folder / "runs", "baselines": baselines, "out": tmp_path}
    run_stage("score_sweep", settings, sweep="one", **places)
    assert calls == [len(rows) * len(STEPS)]  # one task, all candidates together

    scores = pd.read_parquet(tmp_path / "scores.parquet")
    cells = ["meta_learning_rate", "seed"]
    columns = [*cells, "step", "task", "final", "se", "seeds", "score"]
    assert scores.columns.tolist() == columns and len(scores) == calls[0]
    assert set(zip(*(scores[c] for c in cells), strict=True)) == {("0.01", "0"), ("0.003", "1")}
    first = scores[scores["seed"] == "0"].reset_index(drop=True)
    assert first["step"].tolist() == list(STEPS)

    # The first row's scores are those that a selection from it would give.
    series = checkpoint_series(folder / "runs" / rows[0].folder)
    candidates = [resolve(str(path), None, label=path.stem) for path in series]
    with Run(tmp_path / "alone", stage="x", config={}) as run:
        tasks = toy_trainings(settings, settings.select.tasks)
        seeds = settings.select.seeds
        alone = score_checkpoints(tasks, seeds, candidates, baselines, run)
    np.testing.assert_allclose(first["final"], alone["final"], rtol=1e-4)
    np.testing.assert_allclose(first["score"], alone["score"], rtol=1e-4, atol=1e-6)

    best = json.loads((tmp_path / "best.json").read_text())
    top = scores["score"].idxmax()
    assert best["score"] == scores["score"][top] and best["step"] == scores["step"][top]
    assert best["setting"] == {"meta_learning_rate": scores["meta_learning_rate"][top]}
    (winner,) = [row for row in rows if best["setting"].items() <= split_row(row).items()]
    assert best["recipe"] == winner.recipe.model_dump() and best["seeds"] == [winner.seed]
    assert len(best["settings"]) == len(rows)
    assert max(entry["score"] for entry in best["settings"]) == best["score"]
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["stage"] == "score_sweep" and record["results"]["outer_step"] == best["step"]


def test_the_best_setting_is_that_of_the_highest_mean_over_seeds(read):
    rows = read("meta_learning_rate\tseed\n0.01\t0\n0.01\t1\n0.003\t0\n0.003\t1\n")
    # The luckiest run is of the other setting.
    found = {0.01: {2: (0.0, 9.0), 4: (1.0, 1.0)}, 0.003: {2: (5.0, 5.5), 4: (5.25, 4.0)}}
    scores = pd.DataFrame(
        {"row": row.folder, "step": step, "score": per_seed[row.seed] + task}
        for row in rows
        for step, per_seed in found[row.recipe.meta_learning_rate].items()
        for task in (-0.5, 0.5)  # two tasks
    )
    best = best_setting(scores, rows)
    assert best["setting"] == {"meta_learning_rate": "0.003"} and best["step"] == 2
    assert (best["least"], best["score"], best["greatest"]) == (5.0, 5.25, 5.5)
    assert best["recipe"] == rows[2].recipe.model_dump() and best["seeds"] == [0, 1]
    assert [entry["score"] for entry in best["settings"]] == [4.5, 5.25]
    assert [entry["se"] for entry in best["settings"]] == pytest.approx([4.5, 0.25])


def test_last_checkpoints_alone_can_be_scored(swept, tmp_path, baselines):
    settings, folder = swept
    last = settings.sweeps["one"].model_copy(update={"checkpoints": "last"})
    settings = settings.model_copy(update={"sweeps": {"one": last}})
    places = {"runs": folder / "runs", "baselines": baselines, "out": tmp_path}
    run_stage("score_sweep", settings, sweep="one", **places)
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    assert scores["step"].tolist() == [STEPS[-1]] * len(read_sweep(settings, "one"))


def test_scores_need_every_row(swept, tmp_path, baselines, capsys):
    _, folder = swept
    common = ["score-sweep", "--config", f"{folder}/config.json", "--sweep", "one"]
    rest = ["--runs", f"{tmp_path}/none", "--baselines", f"{baselines}", "--out", f"{tmp_path}/out"]
    assert main([*common, *rest]) == 2
    assert "seed~0: no checkpoints" in capsys.readouterr().err
