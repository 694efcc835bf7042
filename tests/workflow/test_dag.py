"""The workflow, run by Snakemake in a copy of its files, with a stand-in for the `l2o` command."""

import json
import os
import re
import subprocess
import sys
import zipfile

import pytest
import yaml
from checkout import REPOSITORY, Checkout
from snakemake.profiles import ProfileConfigFileParser

from l2o import cli
from l2o.config import files as config
from l2o.report.sections import SECTIONS

pytestmark = pytest.mark.long

TARGETS = [
    "all",
    "all_baselines",
    "all_meta_train",
    "meta_train_optim4rl_m",
    "select",
    "tune",
    "all_transfer",
    "transfer_reacher",
    "transfer_variants",
    "transfer_summary",
    "ablations",
    "ablation_gradient_processing",
    "ablation_pipeline_training",
    "ablation_inductive_bias",
    "ablation_factorial",
    "level_linear",
    "analysis",
    "analysis_range",
    "analysis_non_iid",
    "analysis_noise",
    "analysis_identity",
    "report",
    "sweep_meta_learning_rate",
]
TRANSFER = {"transfer": 3, "transfer_summary": 1}
SWEEP = "results/quick/sweeps/meta_learning_rate"
ROWS = [
    f"meta_learning_rate~{rate}/seed~{seed}" for rate in ("0.001", "0.003", "0.01") for seed in "01"
]
RECIPES = [
    "optim4rl_b",
    "optim4rl_a",
    "optim4rl_a_clip",
    "no_resets",
    "synchronous_resets",
    "linear",
    "l2lgd2",
    "optim4rl_m",
]
TRAININGS = 3 * (len(RECIPES) - 1) + 1  # three seeds, but for the selected recipe, which has one


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return Checkout(tmp_path_factory.mktemp("dag") / "fresh")


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_can_be_planned(checkout, target):
    jobs = checkout.planned(target)
    assert 0 < jobs["total"] <= 50
    if target == "all":
        assert jobs["meta_train"] == TRAININGS
        assert jobs["ablate"] == 3 and jobs["level"] == 7
        assert jobs["transfer"] == 3 and "transfer_variant" not in jobs
    if target == "transfer_reacher":
        assert jobs["transfer"] == jobs["tune"] == 1
    if target == "transfer_variants":
        assert jobs["transfer_variant"] == 8 and "transfer" not in jobs
    if target == "ablation_factorial":
        assert jobs["meta_train"] == 24 and jobs["level"] == 16
        assert jobs["baselines"] == 4 and "transfer" not in jobs
    if target == "level_linear":
        assert jobs == {"meta_train": 3, "level": 2, "level_linear": 1, "total": 6}
    if target == "analysis":
        assert jobs["record"] == 3 and jobs["study"] == 3 and "meta_train" not in jobs
    if target == "meta_train_optim4rl_m":
        assert jobs == {"meta_train": 1, "meta_train_optim4rl_m": 1, "total": 2}
    if target == "all_meta_train":
        assert jobs == {"meta_train": TRAININGS, "all_meta_train": 1, "total": TRAININGS + 1}


def test_a_cluster_gets_the_same_jobs(checkout):
    # Planned for another scale too: its files are read, and the selected recipe has more seeds.
    jobs = checkout.planned("--profile", "slurm")
    assert jobs == checkout.planned()
    jobs = checkout.planned("--profile", "slurm", "--config", "scale=paper")
    assert jobs["meta_train"] == 3 * len(RECIPES) and jobs["transfer"] == 7


def test_cluster_resources_are_those_of_rules_that_are_submitted():
    text = "\n".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    blocks = dict(re.findall(r"^rule (\w+):\n((?:(?: .*)?\n)*)", text + "\n", re.M))
    submitted = {name for name, body in blocks.items() if "localrule: True" not in body}
    submitted |= set(re.findall(r"^use rule \w+ as (\w+) with", text, re.M))
    assert {"meta_train", "transfer"} <= submitted
    with open(REPOSITORY / "slurm/config.yaml") as file:
        profile = ProfileConfigFileParser().parse(file)
    named = {rule for key in ("set-resources", "groups") for rule in split_names(profile[key])}
    arrays = set(profile["slurm-array-jobs"].split(","))
    assert named | arrays <= submitted
    # Members of groups cannot be in arrays.
    assert not split_names(profile["groups"]) & arrays


def split_names(values):
    """Return what is before the first separator of `rule:resource=value` or `rule=group`."""
    return {re.split("[:=]", value)[0] for value in values}


@pytest.mark.parametrize(
    ("settings", "sacct"),
    [
        ("AccountingStorageType   = accounting_storage/none\nMinJobAge = 300 sec", False),
        ("AccountingStorageType   = (null)\nMinJobAge = 300 sec", False),
        ("AccountingStorageType   = accounting_storage/slurmdbd\nMinJobAge = 2 sec", True),
    ],
)
def test_the_profile_finds_out_whether_there_is_accounting(tmp_path, settings, sacct):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho '{settings}'\n")
    scontrol.chmod(0o755)
    code = (
        "from snakemake.profiles import ProfileConfigFileParser as P\n"
        "import json; print(json.dumps(P().parse(open('slurm/config.yaml'))))"
    )
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    profile = json.loads(done.stdout)
    assert profile["slurm-status-command"] == ("sacct" if sacct else "squeue")
    assert ("slurm-efficiency-report" in profile) == sacct
    assert ("slurm-no-account" in profile) != sacct


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": "nope"}, "unknown scale 'nope'; known: paper, quick, smoke"),
        ({"transfer": {"sedes": 3}}, "transfer.sedes: unknown key"),
        ({"select": {"tasks": ["small_dense_short"]}}, "overlap: small_dense_short"),
    ],
)
def test_a_bad_configuration_is_one_line(checkout, settings, message):
    if "scale" in settings:
        arguments = ["--config", "scale=nope"]
    else:
        (checkout.folder / "bad.yaml").write_text(yaml.safe_dump(settings))
        arguments = ["--configfile", "bad.yaml"]
    done = checkout.snakemake("--dry-run", *arguments, fails=True)
    assert done.returncode == 2 and "Traceback" not in done.stdout + done.stderr
    about = ("Using ", "Config file ")  # Snakemake's own, at every start
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith(about)]
    assert len(lines) == 1, lines
    assert lines[0].startswith("config: ") and message in lines[0]


class TestRunning:
    @pytest.fixture(scope="class")
    @staticmethod
    def failed(tmp_path_factory):
        """A pipeline in which the meta-training of one recipe failed."""
        checkout = Checkout(tmp_path_factory.mktemp("run") / "run")
        (checkout.folder / "fail").write_text("meta_train/linear/")
        done = checkout.snakemake("--keep-going", fails=True)
        assert done.returncode == 1
        return checkout, done

    @pytest.fixture(scope="class")
    @staticmethod
    def finished(failed):
        """The same pipeline after it was called again."""
        checkout, _ = failed
        before = checkout.calls()
        (checkout.folder / "fail").unlink()
        checkout.snakemake()
        return checkout, before, checkout.calls()[len(before) :]

    def test_a_failed_job_keeps_what_it_resumes_from(self, failed):
        checkout, done = failed
        results = checkout.folder / "results/quick"
        assert (results / ".state/meta_train/linear/seed_0/progress").exists()
        folder = results / "meta_train/linear/seed_0"
        assert not (folder / "metrics.parquet").exists(), "half-written output was kept"
        assert (folder / "metrics.jsonl").exists(), "the history must survive"
        assert "out of luck" in (results / "logs/meta_train/linear_seed_0.log").read_text()
        assert "out of luck" in done.stdout + done.stderr
        # Everything that does not need it was done.
        assert (results / "transfer/inverted_double_pendulum/run.json").exists()
        assert (results / "ablations/pipeline_training/run.json").exists()
        assert not (results / "ablations/inductive_bias").joinpath("run.json").exists()
        assert not (results / "report.html").exists()

    def test_the_next_call_does_only_what_is_missing(self, finished):
        _, _, calls = finished
        assert [call["stage"] for call in calls] == [
            *["meta-train"] * 3,
            "level",
            "ablate",
            "track",
            "report",
        ]
        assert calls[0]["resumed"]

    def test_command_lines_are_those_of_the_program(self, finished, monkeypatch):
        checkout, before, after = finished
        monkeypatch.chdir(checkout.folder)
        assert len(before) + len(after) == 46  # three of 43 jobs twice
        for call in [*before, *after]:
            args = cli.build_parser().parse_args(call["argv"])
            if "config" in args:
                assert config.load(args.config).scale == "quick"
        invocations = [{call["invocation"] for call in calls} for calls in (before, after)]
        assert all(len(names) == 1 and None not in names for names in invocations)
        assert invocations[0] != invocations[1]

    def test_nothing_is_left_to_do(self, finished):
        assert finished[0].planned() == {}

    def test_the_report_is_written_again_after_another_delivery(self, finished):
        jobs = finished[0].planned("--forcerun", "track", "--config", "scale=quick")
        assert jobs == {"track": 1, "report": 1, "all": 1, "total": 3}

    def test_snakemakes_own_report_holds_every_figure(self, finished):
        checkout = finished[0]
        checkout.snakemake("--report", "all.zip")
        with zipfile.ZipFile(checkout.folder / "all.zip") as packed:
            page = packed.read("all/report.html").decode()
            names = packed.namelist()
        description, results, categories = (
            json.loads(re.search(rf'<script id="{name}">\s*var \w+ = (.*);', page)[1])
            for name in ("workflow-desc", "results", "categories")
        )
        assert "scale <strong>quick</strong>" in description
        assert list(categories) == ["Report", *SECTIONS.values()]
        figures = [path for path in results if "/figures/" in path]
        assert len(figures) == 2 * len(SECTIONS)
        for result in results.values():
            assert f"all/{result['data_uri']}" in names
            assert "scale" in result["caption"] and "quick" in result["caption"]
            assert "{{" not in result["caption"] and "system-message" not in result["caption"]

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"transfer": {"seeds": 7}}, TRANSFER | {"tune": 1}),
            ({"transfer": {"points": 3}}, TRANSFER | {"tune": 1}),
            ({"transfer": {"oracle": True}}, TRANSFER),
            ({"transfer": {"tuning_seeds": 1}}, TRANSFER | {"tune": 1}),
            ({"evaluation_seeds": 3}, {"level": 7, "ablate": 3}),
            (
                {"ablations": {"inductive_bias": {"tasks": ["reacher"]}}},
                {"level": 3, "baselines": 1, "ablate": 1},
            ),
            ({"ablations": {"inductive_bias": {"question": "Which?"}}}, {}),
            ({"select": {"seeds": 2}}, TRANSFER | {"select": 1, "tune": 1}),
            (
                {"select": {"meta_seeds": [0, 1]}},
                TRANSFER | {"meta_train": 1, "select": 1, "tune": 1},
            ),
            (
                {"recipes": {"linear": {"unroll": 2}}},
                {"meta_train": 3, "level": 1, "ablate": 1},
            ),
        ],
        ids=lambda value: "-".join(value),
    )
    def test_an_edit_runs_again_what_depends_on_it(self, finished, changes, expected):
        jobs = finished[0].planned(changes=changes)
        always = {"report": 1, "all": 1} | ({"track": 1} if expected else {})
        total = sum(expected.values()) + sum(always.values())
        assert jobs == expected | always | {"total": total}

    def test_results_that_were_lost_after_an_edit_are_not_replaced_by_old_ones(self, finished):
        """A failed job's results are gone; what older settings made of them must not remain."""
        checkout, edit = finished[0], {"evaluation_seeds": 3}
        (checkout.folder / "fail").write_text("levels/linear/")
        before = checkout.planned(changes=edit)
        arguments = ("--configfile", "changes.yaml", "--keep-going")
        assert checkout.snakemake(*arguments, fails=True).returncode == 1
        (checkout.folder / "fail").unlink()
        assert not (checkout.folder / "results/quick/levels/linear/toy/run.json").exists()
        for target, always in (("report", {"report": 1}), ("all", {"report": 1, "all": 1})):
            left = {"level": 1, "ablate": 1, "track": 1} | always
            assert checkout.planned(target, changes=edit) == left | {"total": sum(left.values())}
        assert before["level"] == 7
        name = "ablation_inductive_bias"
        jobs = checkout.planned(name, changes=edit)
        assert jobs == {"level": 1, "ablate": 1, name: 1, "total": 3}
        checkout.snakemake(*arguments)
        assert checkout.planned(changes=edit) == {}

    def test_missing_results_are_made_again(self, finished):
        """Though nothing was edited, and what was made from them is there."""
        checkout, edit = finished[0], {"evaluation_seeds": 3}
        (checkout.folder / "results/quick/levels/linear/toy/run.json").unlink()
        jobs = checkout.planned("all", changes=edit)
        assert jobs == {"level": 1, "ablate": 1, "track": 1, "report": 1, "all": 1, "total": 5}


class TestSweep:
    @pytest.fixture
    @staticmethod
    def settings(request):
        """Settings on the command line: whether rows share a job."""
        return {"sweeps": {"meta_learning_rate": {"one_program": request.param}}}

    @pytest.mark.parametrize(
        ("settings", "training"),
        [(True, {"train_sweep_meta_learning_rate": 1}), (False, {"sweep": 6})],
        indirect=["settings"],
    )
    def test_jobs(self, checkout, settings, training):
        jobs = checkout.planned("sweep_meta_learning_rate", changes=settings)
        others = {"baselines": 2, "score_sweep": 1, "sweep_meta_learning_rate": 1}
        assert jobs == training | others | {"total": sum((training | others).values())}

    @pytest.mark.parametrize("settings", [True, False], indirect=True)
    def test_running(self, tmp_path, settings, monkeypatch):
        checkout = Checkout(tmp_path / "run")
        (checkout.folder / "changes.yaml").write_text(yaml.safe_dump(settings))
        target = ("sweep_meta_learning_rate", "--configfile", "changes.yaml")
        (checkout.folder / "fail").write_text("sweeps")
        assert checkout.snakemake(*target, "--keep-going", fails=True).returncode == 1
        (checkout.folder / "fail").unlink()
        checkout.snakemake(*target)
        for row in ROWS:
            assert (checkout.folder / SWEEP / row / "run.json").is_file()
        assert (checkout.folder / SWEEP / "best.json").is_file()

        monkeypatch.chdir(checkout.folder)
        calls = [call for call in checkout.calls() if "sweep" in call["stage"]]
        once = settings["sweeps"]["meta_learning_rate"]["one_program"]
        assert len(calls) == 2 * (1 if once else len(ROWS)) + 1 and calls[-2]["resumed"]
        parsed = [cli.build_parser().parse_args(call["argv"]) for call in calls]
        assert {str(args.out) for args in parsed} == {SWEEP}
        assert parsed[-1].runs == parsed[-1].out
        trained = {args.row for args in parsed if args.word == "sweep"}
        assert trained == ({None} if once else set(ROWS))

        assert checkout.planned(*target) == {}
        with (checkout.folder / "config/sweeps/meta_learning_rate.tsv").open("a") as table:
            table.write("0.03\t0\n")
        training = {"train_sweep_meta_learning_rate" if once else "sweep": 1}
        others = {"score_sweep": 1, "sweep_meta_learning_rate": 1}
        assert checkout.planned(*target) == training | others | {"total": 3}

    def test_a_bad_table_is_one_line(self, tmp_path):
        checkout = Checkout(tmp_path / "run")
        table = "config/sweeps/meta_learning_rate.tsv"
        (checkout.folder / table).write_text("meta_learning_rat\n0.1\n")
        done = checkout.snakemake("--dry-run", fails=True)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert f"config: {table}: row 1: meta_learning_rat: unknown key." in done.stderr
