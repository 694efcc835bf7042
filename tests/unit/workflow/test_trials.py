"""A scale made small, to be tried: what is cut, and that all of it still fits together."""

import dataclasses
import json

import pytest
from places import ROOT

from l2o.agents.ppo.agent import PPO
from l2o.config import files
from l2o.errors import L2OError
from l2o.pipeline.contract import job
from l2o.stages import baselines, level, meta_train, select, transfer, tune
from l2o.tasks.presets import preset, resolve
from l2o.workflow.trials import get_trial, miniature, on_trial, rehearsal

SCALES = sorted(path.stem for path in (ROOT / "config/scales").glob("*.yaml"))


def scale(name):
    return files.build(
        files.read_yaml(ROOT / "config/config.yaml") | {"scale": name}, ROOT / "config"
    )


def leaves(value, path=""):
    """Yield paths and values of all that is in a configuration."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, f"{path}.{name}")
    else:
        yield path, value


def differences(one, other):
    before, after = (dict(leaves(config.model_dump())) for config in (one, other))
    assert before.keys() == after.keys()
    return {path: (before[path], after[path]) for path in before if before[path] != after[path]}


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("divisor", [3, 50, 10**9])
def test_a_miniature_has_smaller_budgets_and_nothing_else(name, divisor):
    full = scale(name)
    small = miniature(full, divisor)
    changed = differences(full, small)
    assert changed.pop(".trial") == (None, "miniature")
    for path, (before, after) in changed.items():
        if before is None:  # PPO's preset
            assert path.startswith(".transfer.") or ".ppo." in path
            assert type(after) is int
        elif isinstance(before, list):
            assert path.endswith(("seeds", "learning_rates")) and after == before[: len(after)]
        else:
            assert type(before) is int and after < before, path
    # It passes all checks of a configuration.
    assert files.parse(files.Config, json.loads(files.dump(small))) == small


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("divisor", [3, 50, 10**9])
def test_ppo_of_a_miniature_can_be_built(name, divisor):
    small = miniature(scale(name), divisor)
    own = small.transfer
    for task in {*own.tasks, *own.tuning_tasks, *own.variant_tasks}:
        for over in ({}, *(variant.replacements() for variant in own.variants.values())):
            settings = dataclasses.replace(resolve(task, own.ppo), **over)
            PPO(None, settings)  # refuses batches that environments cannot share


def test_the_least_of_everything():
    small = miniature(scale("paper"))
    recipe = small.recipes["optim4rl_b"]
    assert (recipe.agents, recipe.environments, recipe.unroll, recipe.segment) == (2, 1, 2, 1)
    assert recipe.outer_steps == 2 and small.recipes["optim4rl_m"].reset_interval == 1
    assert len(recipe.tasks) == 6 and recipe.tasks[0].reward_scale == 1000
    assert small.meta_seeds == [0] and small.transfer.learning_rates == [0.00003]
    assert small.transfer.ppo.env_steps == 1 and small.transfer.ppo.environments == 1
    assert small.transfer.tasks == scale("paper").transfer.tasks
    wide = small.transfer.variants["wide"]
    assert wide.policy_layers == (128, 128)


@pytest.mark.parametrize("name", SCALES)
def test_a_rehearsal_keeps_all_sizes(name):
    full = scale(name)
    small = rehearsal(full)
    for recipe, own in small.recipes.items():
        before = full.recipes[recipe]
        for size in ("agents", "environments", "unroll", "segment", "optimizer", "tasks"):
            assert getattr(own, size) == getattr(before, size)
        assert own.outer_steps == (2 if own.resets == "synchronous" else 1)
        blocks = own.reset_interval if own.estimator == "full_es" else 1
        assert blocks == 1
    for task in full.transfer.tasks:
        one, other = (resolve(task, config.transfer.ppo) for config in (full, small))
        assert dataclasses.replace(one, env_steps=1) == other
    assert small.transfer.episodes == full.transfer.episodes
    for task, budget in small.toy_tasks.items():
        assert (budget.updates, budget.points) == (1, 1)
        assert budget.environments == full.toy_tasks[task].environments
    assert small.meta_seeds == [full.meta_seeds[0]] and small.transfer.seeds == 1
    assert files.parse(files.Config, json.loads(files.dump(small))) == small


def test_a_rehearsal_can_do_more():
    more = rehearsal(rehearsal(scale("quick")), updates=5, seeds=3)
    assert more.recipes["linear"].outer_steps == 5
    assert more.recipes["optim4rl_m"].outer_steps == 1
    assert more.recipes["optim4rl_m"].reset_interval == 5
    assert more.baselines.seeds == more.transfer.seeds == 3
    assert more.toy_tasks["catch"].updates == 5
    ppo = resolve("reacher", more.transfer.ppo)
    assert -(-ppo.env_steps // ppo.steps_per_update) == 5


class TestWork:
    """What jobs do, counted by hand."""

    quick = scale("quick")

    def test_meta_training(self):
        assert meta_train.work(self.quick, "linear", 0) == (120, 120 * 32 * 8 * 4, 0)
        # Lifetimes of 100 blocks.
        assert meta_train.work(self.quick, "optim4rl_m", 0).steps == 24 * 100

    def test_baselines(self):
        agents = 4 * 4 * 2 + (4 + 1) * 8  # grid, and curves with a random policy
        assert baselines.work(self.quick, "catch") == (agents * 200, agents * 200 * 32, 0)

    def test_selection(self):
        agents = (1 + 24 // 4) * 1 * 4
        scored = agents * 400 + agents * 200
        compared = 2 * 8 * (400 + 400 + 200)
        assert select.work(self.quick).steps == scored + compared

    def test_levels(self):
        assert level.work(self.quick, "linear", "toy").steps == 2 * 4 * 3 * (400 + 400 + 200)
        one = level.work(self.quick, "linear", "inverted_double_pendulum")
        assert one.steps == 2 * 2 * 3 * 40 and one.learned == one.steps * 2048
        assert one.played == 2 * 2 * 3 * 5 * 8 * preset("inverted_double_pendulum").episode_length

    def test_transfer(self):
        contenders = 2 + 1 + 4
        assert tune.work(self.quick).steps == contenders * 4 * 2 * 20
        agents = (contenders + 2) * 5  # learned ones also at their own rates
        assert transfer.work(self.quick, "reacher").steps == agents * 40

    def test_every_job_that_trains_says_what_it_does(self):
        from l2o.workflow.registry import get_stage, jobs_of, stage_names

        for config in (self.quick, rehearsal(self.quick), miniature(self.quick)):
            for name in stage_names():
                stage = get_stage(name)
                assert (stage.work is None) == (stage.programs is None)
                for one in jobs_of(config, name) if stage.work else ():
                    assert min(stage.work(config, **one.named)[:2]) > 0


def test_targets_choose_the_trial():
    assert get_trial(["--cores", "2", "rehearse", "--config", "scale=paper"]) == "rehearsal"
    assert get_trial(["miniature"]) == "miniature"
    assert get_trial(["--config", "scale=paper", "report"]) == ""
    full = scale("smoke")
    assert on_trial(full, "") is full
    assert on_trial(full, "rehearsal") == rehearsal(full)
    with pytest.raises(L2OError, match=r"unknown trial 'miniatur'. Did you mean 'miniature'"):
        on_trial(full, "miniatur")


def test_trials_are_not_delivered():
    from l2o.stages import report

    full = scale("smoke")
    for config, delivered in ((full, True), (miniature(full), False), (rehearsal(full), False)):
        needed = [item.job for item in report.inputs(config)]
        assert (job("track") in needed) == delivered
