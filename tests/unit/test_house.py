"""What keeps the house in order: small files, short functions, one place for what is listed."""

import ast
import dataclasses
from pathlib import Path

import jax
import pytest

import l2o
from l2o import choices, stages
from l2o.config.presets import BRAX_PRESETS, GYMNAX_PRESETS
from l2o.errors import L2OError
from l2o.meta.estimators import make_estimator
from l2o.meta.objectives import OBJECTIVES, get_objective
from l2o.optimizers.classical import list_classical
from l2o.optimizers.registry import list_optimizers
from l2o.pipeline.contract import Stage
from l2o.report.sections import SECTIONS
from l2o.statistics.columns.gradients import STUDY_TABLES
from l2o.tasks.registry import TOY_TASKS, make_toy_agent
from l2o.workflow.registry import get_stage, stage_names

PACKAGE = Path(l2o.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1


def test_the_root_is_small():
    assert len(list(PACKAGE.glob("*.py"))) <= 8


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_files_and_functions_are_short(path):
    assert len(path.read_text().splitlines()) <= 300
    assert [name for name, lines in functions(path) if lines > 60] == []


def test_what_imports_by_name_is_known():
    """The code of a stage is found by reading imports: what is imported otherwise is not in it."""
    names = {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        if "import_module" in path.read_text() or "__import__" in path.read_text()
    }
    # The public names of `import l2o`, commands, stages; libraries that are imported late.
    ours = {"__init__.py", "cli.py", "workflow/registry.py"}
    # And sections of the report, which are followed: there.
    ours |= {"report/page.py", "workflow/sources.py"}
    assert names == ours | {"environments/lazy.py", "statistics/bootstrap.py"}


def test_choices_are_what_the_code_has():
    assert set(OBJECTIVES) == set(choices.OBJECTIVES)
    possible = {name: [] for name in choices.ESTIMATORS}
    for estimator in choices.ESTIMATORS:
        for objective in choices.OBJECTIVES:
            try:
                get_objective(objective, estimator)
            except L2OError:
                continue
            possible[estimator].append(make_estimator(estimator, objective, choices.SHAPINGS[0]))
    assert all(possible.values())
    assert set(STUDY_TABLES) == set(choices.STUDIES)
    assert {name for name, task in TOY_TASKS.items() if not task.env_id} == set(
        choices.SUPERVISED_TASKS
    )


def test_every_stage_and_section_has_its_contract():
    for name in stage_names():
        stage = get_stage(name)
        assert isinstance(stage, Stage) and stage.help[0].islower()
        assert (PACKAGE / "stages" / f"{name}.py").is_file()
    for section in SECTIONS:
        folder = PACKAGE / "report/sections" / section
        assert {"__init__.py", "section.html.j2"} <= {path.name for path in folder.iterdir()}


def test_names_of_tasks_are_listed_once():
    assert set(choices.TOY_TASKS) == set(TOY_TASKS)
    assert set(choices.BRAX_TASKS) == set(BRAX_PRESETS)
    assert set(choices.GYMNAX_TASKS) == set(GYMNAX_PRESETS)
    assert not {*choices.BRAX_TASKS, *choices.GYMNAX_TASKS} & set(TOY_TASKS)


def test_names_of_optimizers_are_those_that_there_are():
    assert list(choices.LEARNED_OPTIMIZERS) == list_optimizers()
    assert list(choices.CLASSICAL_OPTIMIZERS) == list_classical()


@pytest.mark.parametrize("task", choices.TOY_TASKS)
def test_which_tasks_a_convolution_fits(task):
    def outputs():
        agent = make_toy_agent(task, "C16-D32")
        shapes = jax.tree.leaves(agent.shapes)
        return all(leaf.size for leaf in shapes) or pytest.fail("a layer without weights")

    if task in choices.DENSE_TASKS:
        with pytest.raises((ValueError, TypeError, ZeroDivisionError, pytest.fail.Exception)):
            outputs()
    else:
        assert outputs()


def test_learned_optimizers_do_not_import_each_other():
    folder = PACKAGE / "optimizers"
    shared = {"base", "classical", "registry", "weights"}
    own = {path.stem for path in folder.glob("*.py")} - shared
    assert len(own) > 8
    for name in own:
        tree = ast.parse((folder / f"{name}.py").read_text())
        origins = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not origins & {f"l2o.optimizers.{other}" for other in own}, name


def test_a_stage_without_a_contract_is_named(tmp_path, monkeypatch):
    (tmp_path / "empty_one.py").write_text('"""Says nothing."""\n')
    (tmp_path / "two words.py").write_text("")
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(tmp_path)])
    assert "empty_one" in stage_names() and "two words" not in stage_names()
    with pytest.raises(L2OError, match=r"empty_one\.py: has no STAGE"):
        get_stage("empty_one")
    with pytest.raises(L2OError, match=r"unknown stage 'tranfer'\. Did you mean 'transfer'"):
        get_stage("tranfer")


def test_settings_of_ppo_are_listed_once():
    from l2o.config.ppo import REPLACEABLE, PPOBudget, PPOSettings

    fields = {field.name for field in dataclasses.fields(PPOSettings)}
    assert set(REPLACEABLE) <= fields and tuple(PPOBudget.model_fields) == REPLACEABLE
