"""When a job runs again: after edits of what it depends on, and of nothing else."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

import l2o
from l2o import stages
from l2o.config import files
from l2o.pipeline.contract import job
from l2o.report.sections import SECTIONS
from l2o.workflow import sources, versions
from l2o.workflow.registry import get_stage, stage_names
from l2o.workflow.sources import source_files
from l2o.workflow.versions import Versions, code_version, digest

REPOSITORY = ROOT
PACKAGE = Path(l2o.__file__).parent
ROW = "meta_learning_rate~0.001/seed~1"
JOBS = {
    "baselines catch": job("baselines", task="catch"),
    "baselines dense": job("baselines", task="small_dense_short"),
    "baselines reacher": job("baselines", task="reacher"),
    "meta_train linear": job("meta_train", recipe="linear", seed=0),
    "meta_train optim4rl_b": job("meta_train", recipe="optim4rl_b", seed=0),
    "sweep": job("sweep", sweep="meta_learning_rate"),
    "sweep row": job("sweep", sweep="meta_learning_rate", row=ROW),
    "score_sweep": job("score_sweep", sweep="meta_learning_rate"),
    "select": job("select"),
    "tune": job("tune"),
    "transfer": job("transfer", task="inverted_double_pendulum"),
    "variant": job("transfer", task="inverted_double_pendulum", variant="tanh"),
    "transfer_summary": job("transfer_summary"),
    "level toy": job("level", recipe="linear", where="toy"),
    "level reacher": job("level", recipe="linear", where="reacher"),
    "level digits": job("level", recipe="star", where="digits"),
    "level public": job("level", recipe="open_public", where="toy"),
    "ablate bias": job("ablate", ablation="inductive_bias"),
    "ablate pipeline": job("ablate", ablation="pipeline_training"),
    "record digits": job("record", source="digits"),
    "record ppo": job("record", source="cartpole"),
    "drift": job("drift"),
    "identity": job("identity", source="digits"),
    "study range": job("study", study="range"),
    "study non_iid": job("study", study="non_iid"),
}
# A recording of PPO agents, as there is at scale quick, and a level of them.
MORE = {
    "analysis": {"sources": {"cartpole": {"task": "cartpole"}}},
    "ablations": {"inductive_bias": {"tasks": ["reacher"]}},
}
BASELINES = {"baselines catch", "baselines dense"}
LEVELS = {"level toy", "level reacher", "level digits", "level public"}
PPO = {"baselines reacher", "level reacher", "record ppo"}
TRANSFER = {"transfer", "variant"}
SWEEP = {"sweep", "sweep row"}
RECORDINGS = {"record digits", "record ppo", "identity", "study range", "study non_iid"}


def build(**settings):
    base = files.read_yaml(REPOSITORY / "config/config.yaml") | {"scale": "smoke"}
    return files.build(files.merge(files.merge(base, MORE), settings), REPOSITORY / "config")


def nested(path, value):
    """Return ``{"a": {"b": value}}`` for ``"a.b"``."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


@pytest.fixture(autouse=True)
def at_the_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)  # where the sweep's table is found


def settings_of(config):
    return {
        name: digest(get_stage(one.stage).settings(config, **one.named))
        for name, one in JOBS.items()
    }


def versions_of(config):
    known = Versions(config)
    return {name: known.version(one) for name, one in JOBS.items()}


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("transfer.seeds", 5, {"tune", "baselines reacher"} | TRANSFER),
        ("transfer.points", 3, {"tune"} | PPO | TRANSFER),
        ("transfer.ppo.epochs", 2, {"tune"} | PPO | TRANSFER),
        ("transfer.episodes", 3, {"tune"} | PPO | TRANSFER),
        ("transfer.oracle", True, TRANSFER),
        ("transfer.learning_rates", [0.1], {"tune", "baselines reacher"}),
        ("transfer.tuning_tasks", ["acrobot"], {"tune"}),
        ("transfer.tasks", ["hopper"], {"transfer_summary"}),
        ("transfer.recipes", ["linear", "l2lgd2"], {"tune"} | TRANSFER),
        ("transfer.variants.tanh.activation", "elu", {"variant"}),
        ("recipes.linear.unroll", 4, {"meta_train linear"}),
        (
            "recipe.unroll",
            4,
            {"meta_train linear", "meta_train optim4rl_b"} | SWEEP | {"score_sweep"},
        ),
        ("recipes.linear.optimizer.name", "l2lgd2", {"meta_train linear", "tune"} | TRANSFER),
        (
            "recipes.optim4rl_m.interior",
            False,
            BASELINES | {"score_sweep", "select", "record digits"} | LEVELS - {"level reacher"},
        ),
        (
            "toy_tasks.catch.updates",
            40,
            {"baselines catch", "score_sweep", "select", "level toy", "level public"},
        ),
        ("toy_tasks.digits.updates", 40, {"record digits", "level digits"}),
        ("baselines.tuning_seeds", 2, BASELINES),
        ("baselines.seeds", 4, BASELINES | {"select"}),
        ("baselines.optimizers", ["adam", "sign"], BASELINES | {"tune"} | TRANSFER),
        ("select.seeds", 4, {"select", "score_sweep"}),
        ("select.meta_seeds", [0, 1], {"select"}),
        ("sweeps.meta_learning_rate.recipe", "linear", SWEEP | {"score_sweep"}),
        ("sweeps.meta_learning_rate.one_program", False, set()),
        ("sweeps.meta_learning_rate.devices", 2, set()),
        ("sweeps.meta_learning_rate.checkpoints", "last", {"score_sweep"}),
        ("evaluation_seeds", 4, LEVELS - {"level reacher"}),
        ("evaluation_ppo_seeds", 4, {"level reacher"}),
        ("meta_seeds", [0, 1], LEVELS | {"select"}),
        ("pretrained.open_public.learning_rate", 0.5, {"level public"}),
        ("analysis.seeds", 4, {"record digits", "record ppo"}),
        ("analysis.drift.seeds", 4, {"drift"}),
        ("analysis.identity.steps", 4, {"identity"}),
        ("analysis.identity.sources", ["digits"], set()),
        ("analysis.sources.cartpole.learning_rate", 0.1, {"record ppo"}),
        ("ablations.inductive_bias.tasks", [], {"ablate bias"}),
        ("ablations.inductive_bias.recipes.linear", "Lin", {"ablate bias"}),
        ("ablations.inductive_bias.question", "What?", set()),
    ],
)
def test_settings_are_what_a_stage_uses(path, value, expected):
    before, after = build(), build(**nested(path, value))
    assert before != after
    assert changed(settings_of(before), settings_of(after)) == expected
    report = get_stage("report").settings
    assert digest(report(before)) != digest(report(after))


def test_the_order_of_an_ablations_levels_counts():
    """The first one is the full method, with which the others are compared."""
    before = build()
    ablations = dict(before.ablations)
    other = ablations["inductive_bias"]
    turned = dict(reversed(other.recipes.items()))
    ablations["inductive_bias"] = other.model_copy(update={"recipes": turned})
    after = before.model_copy(update={"ablations": ablations})
    assert changed(settings_of(before), settings_of(after)) == {"ablate bias"}


def test_settings_are_the_same_each_time():
    assert settings_of(build()) == settings_of(build())


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            "transfer.seeds",
            5,
            {"tune", "transfer_summary", "ablate bias", "baselines reacher"} | TRANSFER,
        ),
        ("transfer.recipes", [], {"tune", "transfer_summary"} | TRANSFER),
        ("select.seeds", 4, {"select", "score_sweep", "tune", "transfer_summary"} | TRANSFER),
        ("analysis.drift.seeds", 4, {"drift", "study non_iid"}),
        ("analysis.seeds", 4, RECORDINGS),
        ("evaluation_ppo_seeds", 4, {"level reacher", "ablate bias"}),
    ],
)
def test_versions_follow_what_inputs_are_made_from(path, value, expected):
    before, after = build(), build(**nested(path, value))
    assert changed(versions_of(before), versions_of(after)) == expected


def test_versions_follow_the_code_of_what_inputs_are_made_by(monkeypatch):
    before = versions_of(build())
    real = code_version

    def edited(stage):
        return "edited" if stage == "record" else real(stage)

    monkeypatch.setattr(versions, "code_version", edited)
    after = versions_of(build())
    assert changed(before, after) == RECORDINGS


def test_methods_of_settings_are_code_too(tmp_path):
    """A recipe's tasks name themselves in metrics: the file of their class counts."""
    shutil.copytree(PACKAGE, tmp_path / "l2o")
    code = (
        f"config = {str(REPOSITORY / 'config')!r}\n"
        "from l2o.config.files import build; from l2o.config.parsing import read_yaml\n"
        "from l2o.pipeline.contract import job; from l2o.workflow.versions import Versions\n"
        "settings = read_yaml(f'{config}/config.yaml') | {'scale': 'smoke'}\n"
        "known = Versions(build(settings, config))\n"
        "print(known.version(job('meta_train', recipe='linear', seed=0)))\n"
        "print(known.version(job('baselines', task='catch')))\n"
    )

    def both():
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.split()

    before = both()
    file = tmp_path / "l2o/config/recipe.py"
    file.write_text(file.read_text().replace("return self.name or self.task", "return self.task"))
    after = both()
    assert before[0] != after[0] and before[1] == after[1]


# The code of a stage


def names_of(stage):
    return {path.relative_to(PACKAGE).as_posix() for path in source_files(f"l2o.stages.{stage}")}


def test_the_code_of_a_stage_is_what_it_imports():
    train, transfer, study = map(names_of, ("meta_train", "transfer", "study"))
    assert {"stages/meta_train.py", "meta/train.py", "optimizers/velo.py", "__init__.py"} <= train
    assert {"agents/a2c.py", "environments/gridworlds.py", "jobs/resume.py"} <= train
    assert not any(name.startswith(("report/", "tracking/", "evaluation/")) for name in train)
    assert {"agents/ppo/agent.py", "environments/brax.py", "evaluation/transfer.py"} <= transfer
    assert not any(name.startswith(("report/", "meta/", "analysis/")) for name in transfer)
    assert {"statistics/columns/gradients.py", "statistics/gradients.py"} <= study
    assert not any(name.startswith(("optimizers/", "meta/", "agents/")) for name in study)
    report = names_of("report")
    for section in SECTIONS:
        files_of = ("__init__.py", "section.html.j2")
        assert {f"report/sections/{section}/{name}" for name in files_of} <= report
    assert any(name.endswith("style.css") for name in report)
    assert all("cli.py" not in names_of(stage) for stage in stage_names())
    assert {"report/sections/transfer/figures.py", "report/sections/transfer/claims.py"} <= report
    # What checks a configuration is of no matter to what is made of the settings.
    assert all(
        "config/models.py" not in names for names in (train, transfer, study, names_of("sweep"))
    )


def test_versions_of_code_are_the_same_each_time():
    known = {stage: code_version(stage) for stage in stage_names()}
    code_version.cache_clear()
    assert known == {stage: code_version(stage) for stage in stage_names()}
    assert len(set(known.values())) == len(known)


MODULE = """
from ..jobs import interrupts
from .. import redaction as r
from typing import TYPE_CHECKING
import typing
from l2o.files import sha256
if TYPE_CHECKING:
    from l2o.meta import train
elif True:
    from l2o import seeding
if typing.TYPE_CHECKING:
    import l2o.meta.outer
else:
    import l2o.jobs.locks

def run():
    from l2o.jobs import (
        history,
    )
    class Inner:
        def method(self):
            import numpy, l2o.choices as choices
"""


def test_imports_are_followed_wherever_they_are(tmp_path, monkeypatch):
    (tmp_path / "toy.py").write_text(MODULE)
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(tmp_path)])
    sources.find_module.cache_clear()
    names = {path.name for path in source_files("l2o.stages.toy")}
    assert {"toy.py", "files.py", "seeding.py", "locks.py", "history.py", "choices.py"} <= names
    assert {"interrupts.py", "redaction.py"} <= names, "relative ones"
    assert {"errors.py", "redaction.py"} <= names, "what they import, too"
    assert not {"train.py", "outer.py"} & names, "what is for type checkers alone"
    sources.find_module.cache_clear()


@pytest.mark.parametrize("stage", ["baselines", "record", "level"])
def test_what_a_stage_really_imports_is_in_its_code(stage, tmp_path):
    """Run stages on very little, in a process that then says which modules it has."""
    job_of = {
        "baselines": ["--task", "catch"],
        "record": ["--source", "digits"],
        "level": ["--recipe", "open_public", "--where", "digits", "--runs", "."],
    }
    budget = {"environments": 2, "updates": 2, "points": 1}
    tiny = {
        "toy_tasks": dict.fromkeys(("catch", "digits"), budget),
        "baselines": {"seeds": 1, "learning_rates": [0.01]},
        "evaluation_seeds": 1,
        "analysis": {"seeds": 1, "noise_gradients": 2},
    }
    path, out = tmp_path / "config.json", tmp_path / "out"
    words = [stage, "--config", str(path), "--out", str(out), *job_of[stage]]
    files.write(build(**tiny), path)
    code = (
        "import sys; from l2o.cli import main\n"
        f"assert main({words!r}) == 0\n"
        "print('modules:', *(m for m in sys.modules if m.split('.')[0] == 'l2o'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules = done.stdout.rpartition("modules:")[2].split()
    imported = {
        Path(sys.modules.get(m).__file__ if m in sys.modules else sources.find_module(m))
        for m in modules
    }
    code_of = set(source_files(f"l2o.stages.{stage}"))
    # The command line itself, and what reads and checks the configuration.
    names = ("accelerators", "environment", "failures", "interrupts", "streams")
    beside = {PACKAGE / "cli.py", *(PACKAGE / f"jobs/{name}.py" for name in names)}
    beside |= {PACKAGE / "tools/__init__.py"}
    beside |= set((PACKAGE / "workflow").glob("*.py"))
    beside |= set((PACKAGE / "config").glob("*.py"))
    assert imported - code_of - beside == set()


def test_an_edit_changes_the_code_of_those_that_import_it(tmp_path):
    """In a copy of the package, file by file."""
    shutil.copytree(PACKAGE, tmp_path / "l2o")
    code = (
        "from l2o.workflow.versions import code_version\n"
        "from l2o.workflow.registry import stage_names\n"
        "import json; print(json.dumps({name: code_version(name) for name in stage_names()}))"
    )

    def all_versions():
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    before = all_versions()
    for name, some, others in (
        (
            "statistics/columns/gradients.py",
            {"study", "report", "record"},
            {"select", "meta_train"},
        ),
        ("meta/outer.py", {"meta_train", "sweep"}, {"baselines", "transfer", "report"}),
        ("tracking/delivery.py", {"track"}, {"meta_train", "transfer", "report"}),
    ):
        file = tmp_path / "l2o" / name
        text = file.read_text()
        file.write_text(f"{text}# edited\n")
        edited = changed(before, all_versions())
        assert some <= edited and not others & edited, (name, edited)
        file.write_text(text)
    for stray in (".cli.py.swp", ".#drift.py", ".DS_Store", "notes.txt"):  # of editors and people
        (tmp_path / "l2o/stages" / stray).touch()
        (tmp_path / "l2o" / stray).touch()
    assert all_versions() == before
