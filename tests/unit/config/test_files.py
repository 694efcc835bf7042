import json
import os

import pytest
import yaml
from places import ROOT

from l2o.choices import BRAX_BACKENDS
from l2o.cli import main
from l2o.config import files as config
from l2o.config import keys as config_keys
from l2o.config.sweeps import read_sweep
from l2o.errors import ConfigError, L2OError

FOLDER = ROOT / "config"
SCALES = ("smoke", "quick", "paper")


def build(scale="smoke", **settings):
    base = config.read_yaml(FOLDER / "config.yaml") | {"scale": scale}
    return config.build(config.merge(base, settings), FOLDER)


def nested(path, value):
    """Return ``{"a": {"b": value}}`` for ``"a.b"``."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


# Valid configurations


@pytest.mark.parametrize("scale", SCALES)
def test_shipped_scales(scale, tmp_path):
    resolved = build(scale)
    assert resolved.scale == scale
    assert set(resolved.usual_ablations) == {
        "gradient_processing",
        "pipeline_training",
        "inductive_bias",
    }
    assert len(resolved.ablations) == 10 and len(resolved.usual_recipes) == 8
    recipes = [recipe for recipe in resolved.recipes.values() if not recipe.control]
    training = {task.task for recipe in recipes for task in recipe.tasks}
    groups = [training, set(resolved.select.tasks), set(resolved.transfer.tasks)]
    assert len(set.union(*groups)) == sum(map(len, groups))  # disjoint
    assert resolved.toy_evaluation_tasks[-len(resolved.select.tasks) :] == resolved.select.tasks
    path = tmp_path / "new" / "config.json"
    config.write(resolved, path)
    assert config.load(path) == resolved
    before = path.stat().st_mtime_ns
    config.write(resolved, path)
    assert path.stat().st_mtime_ns == before  # unchanged files keep their time


def test_the_readme_lists_every_key():
    text = (FOLDER / "README.md").read_text()
    assert text.endswith("\n\n" + config_keys.describe())


def test_a_control_may_be_meta_trained_on_test_tasks():
    own = {"tasks": [{"task": "inverted_double_pendulum"}], "control": True}
    resolved = build(recipes={"itself": own})
    assert resolved.recipes["itself"].tasks[0].task in resolved.transfer.tasks
    own = {"tasks": [{"task": "cartpole"}, {"task": "small_dense_short"}]}
    resolved = build(recipes={"optim4rl_b": own}, select={"recipe": "optim4rl_b"})
    assert resolved.toy_evaluation_tasks == ["small_dense_short", "catch"]
    assert resolved.role("cartpole") == "training"


def test_scales_grow():
    smoke, quick, paper = map(build, SCALES)
    for small, large in ((smoke, quick), (quick, paper)):
        assert small.baselines.seeds <= large.baselines.seeds
        for name in small.recipes.keys() & large.recipes.keys():
            recipe = small.recipes[name]
            assert recipe.outer_steps * recipe.agents < (
                large.recipes[name].outer_steps * large.recipes[name].agents
            )


def test_recipes_take_defaults_and_settings_win():
    resolved = build(
        recipe={"agents": 16}, recipes={"mine": {"unroll": 3}, "optim4rl_a": {"agents": 32}}
    )
    assert resolved.recipes["mine"].unroll == 3 and resolved.recipes["mine"].agents == 16
    assert resolved.recipes["optim4rl_a"].agents == 32
    assert resolved.recipes["optim4rl_a"].optimizer["name"] == "optim4rl_a"
    assert resolved.get_recipe("mine").optimizer == {"name": "optim4rl_b"}
    with pytest.raises(L2OError, match=r"unknown recipe 'optim4rl_c'\. Did you mean 'optim4rl_m'"):
        resolved.get_recipe("optim4rl_c")


def test_merge_copies():
    base, over = {"a": {"b": [1, 2], "c": 1}}, {"a": {"b": [3]}, "d": None}
    merged = config.merge(base, over)
    assert merged == {"a": {"b": [3], "c": 1}, "d": None}
    merged["a"]["b"].append(4)
    assert base == {"a": {"b": [1, 2], "c": 1}} and over["a"]["b"] == [3]


def test_recipe_of_its_own(tmp_path):
    recipe = build().recipes["linear"]
    for name, text in {
        "r.yaml": yaml.safe_dump(recipe.model_dump()),
        "r.json": json.dumps(recipe.model_dump()),
    }.items():
        (tmp_path / name).write_text(text)
        assert config.load_recipe(tmp_path / name) == recipe


# Refused configurations


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sed", 1, "sed: unknown key"),
        ("transfer.ppo.lr", 0.1, "transfer.ppo.lr: unknown key"),
        ("recipes.linear.unrol", 4, "recipes.linear.unrol: unknown key"),
        ("recipe.agents", "many", "recipes.optim4rl_b.agents: input should be a valid integer"),
        ("recipes.linear", 3, "recipes.linear: input should be.*; got 3"),
        ("recipes.linear", [1], r"recipes.linear: input should be.*; got \[1\]"),
        ("recipes", [1], r"recipes: input should be a valid dictionary; got \[1\]"),
        ("recipe", 5, "recipe: .*; got 5"),
        ("toy_tasks", 3, "toy_tasks: input should be a valid dictionary; got 3"),
        ("select.seeds", -1, "select.seeds: input should be greater than 0; got -1"),
        ("evaluation_seeds", 0, "evaluation_seeds: input should be greater than 0; got 0"),
        ("meta_seeds", [], "meta_seeds: .*at least 1"),
        ("baselines.learning_rates", [0.1, 0], "baselines.learning_rates.1: .*than 0; got 0"),
        ("toy_tasks.catch.updates", -5, "toy_tasks.catch.updates: .*greater than 0; got -5"),
        ("toy_tasks.catch.torso", "D33", "toy_tasks.catch.torso: .*'D32', 'D256'.*got 'D33'"),
        ("recipes.linear.resets", "often", "recipes.linear.resets: .*'staggered'.*got 'often'"),
        ("recipes.linear.meta_learning_rate", float("nan"), "meta_learning_rate: .*; got nan"),
        ("recipes.linear.checkpoint_interval", 3, "linear: checkpoint_interval must be a mult"),
        ("recipes.linear.outer_steps", 9, "linear: outer_steps must be a multiple of checkp"),
        ("recipes.linear.optimizer", None, "recipes.linear.optimizer: .*dictionary; got None"),
        ("recipes.Linear", {}, "recipes.Linear.*: string should match pattern"),
        ("select.recipe", "liner", "select.recipe: unknown recipe 'liner'; known: fewer_"),
        (
            "ablations.inductive_bias.recipes.liner",
            "x",
            "ablations.inductive_bias.recipes: unknown recipe 'liner'; known: ",
        ),
        ("ablations.one", {"question": "?", "recipes": {"linear": "x"}}, "at least 2 items"),
        (
            "select.tasks",
            ["catch", "small_dense_short"],
            r"meta-training set and validation tasks .* overlap: small_dense_short",
        ),
        ("transfer.tasks", ["catch"], "validation tasks .* and test tasks overlap: catch"),
        (
            "transfer.tasks",
            ["small_dense_short"],
            "meta-training set and test tasks .* overlap: small_dense_short",
        ),
        (
            "transfer.tuning_tasks",
            ["inverted_double_pendulum"],
            "transfer.tuning_tasks and test tasks overlap: inverted_double_pendulum",
        ),
        ("select.tasks", ["small_sparse_long"], "toy_tasks lacks the budget of small_sparse_long"),
        (
            "ablations.rewards.tasks",
            ["big_dense_long"],
            "toy_tasks lacks the budget of big_dense_long",
        ),
        ("baselines.optimizers", ["sign"], "baselines.optimizers must hold adam"),
        (
            "recipe.tasks",
            [{"task": "small_dense_short"}, {"task": "small_dense_short"}],
            "tasks names a task twice: small_dense_short, small_dense_short",
        ),
        ("recipe.tasks", [], "tasks: .*at least 1"),
        (
            "recipe.tasks",
            [{"task": "cach"}],
            "tasks: unknown task 'cach'. Did you mean 'catch'",
        ),
        ("recipe.tasks", [{"task": "ants"}], "tasks: unknown task 'ants'. Did you mean 'ant'"),
        (
            "recipes.linear.tasks",
            [{"task": "inverted_double_pendulum"}],
            "meta-training set and test tasks .transfer.tasks. overlap: inverted_double_pendulum",
        ),
        (
            "recipes.optim4rl_m.control",
            True,
            "select.recipe: 'optim4rl_m' is a control .recipes.optim4rl_m.control., and no claim",
        ),
        (
            "recipes.pes.tasks",
            [{"task": "cartpole"}],
            "tasks: the agents of 'cartpole' cannot use objective 'mean_return', only return, ",
        ),
        (
            "recipes.full_es.objective",
            "evaluation_return",
            "tasks: the agents of 'small_dense_short' cannot use objective 'evaluation_return', ",
        ),
        (
            "recipes.linear.tasks",
            [{"task": "cartpole", "torso": "D32"}],
            "'cartpole' is learned by PPO; its networks are ppo.policy_layers and ",
        ),
        (
            "recipes.linear.tasks",
            [{"task": "catch", "ppo": {"epochs": 2}}],
            r"'catch' is not learned by PPO; remove ppo \(epochs\)",
        ),
        (
            "recipes.linear.tasks",
            [{"task": "cartpole", "ppo": {"environments": 48}}],
            "with task 'cartpole' batch_size x minibatches .* must be a multiple of environments",
        ),
        (
            "recipes.linear",
            {"tasks": [{"task": "cartpole"}], "segment": 3},
            "segment must divide the [0-9]+ updates of an outer step on 'cartpole'",
        ),
        (
            "recipes.linear.held_out",
            [{"task": "small_dense_short"}],
            "held_out: small_dense_short is meta-trained on",
        ),
        (
            "recipes.linear.held_out",
            [{"task": "inverted_double_pendulum"}],
            "meta-training set and test tasks .transfer.tasks. overlap: inverted_double_pendulum",
        ),
        (
            "recipes.linear.tasks",
            [{"task": "swimmer"}],
            "tasks: task 'swimmer' works on no backend of this version of Brax",
        ),
        (
            "recipe.tasks",
            [{"task": "digits", "torso": "C16-D32"}],
            r"tasks: a convolution \(C16-D32\) does not fit task 'digits'",
        ),
        (
            "recipe.optimizer.name",
            "star2",
            "unknown learned optimizer 'star2'. Did you mean 'star'",
        ),
        ("recipe.optimizer.name", 3, "unknown learned optimizer '3'"),
        ("recipe.optimizer", {"name": "adam"}, "unknown learned optimizer 'adam'"),
        (
            "recipes.linear.objective",
            "return",
            "'truncated_gradient' cannot use objective 'return'",
        ),
        (
            "recipes.full_es.objective",
            "actor",
            "'full_es' cannot use objective 'actor', only final_",
        ),
        ("toy_tasks.cach", {"environments": 1, "updates": 1}, "toy_tasks: unknown toy task 'cach'"),
        ("toy_tasks.catch.torso", "C16-D32", "toy_tasks.catch.torso: a convolution"),
        ("select.tasks", ["cach"], "select.tasks: unknown toy task 'cach'. Did you mean 'catch'"),
        ("analysis.drift.task", "cartpole", "analysis.drift.task: unknown toy task 'cartpole'"),
        ("analysis.sources.x.task", "antt", "analysis.sources.x.task: unknown task 'antt'. Did"),
        ("analysis.sources.x.task", "big_dense_long", "toy_tasks lacks the budget of big_dense_l"),
        ("ablations.rewards.tasks", ["antt"], "ablations.rewards.tasks: unknown task 'antt'. Did"),
        ("transfer.tasks", ["antt"], "transfer.tasks: unknown task 'antt'. Did you mean 'ant'?"),
        ("transfer.tuning_tasks", ["cart"], "transfer.tuning_tasks: unknown task 'cart'"),
        (
            "transfer.variant_tasks",
            ["walker"],
            "variant_tasks: unknown task 'walker'. Did you mean",
        ),
        ("transfer.tuning_tasks", ["catch"], "tuning_tasks: unknown PPO task 'catch'"),
        (
            "transfer.tuning_tasks",
            ["swimmer"],
            "task 'swimmer' works on no backend of this version",
        ),
        ("transfer.ppo.environments", 48, r"transfer.ppo: with task '.*multiple of env.* \(48\)"),
        (
            "transfer.ppo.unroll_length",
            101,
            "transfer.ppo: with task .* must not exceed episode_len",
        ),
        (
            "transfer.variants.x.environments",
            48,
            "transfer.variants.x: with task .* must be a mult",
        ),
        (
            "transfer.variants.x.episode_length",
            7,
            "transfer.variants.x: .* must not exceed episode",
        ),
        ("transfer.learning_rates", [], "transfer.learning_rates: .*at least 1"),
        (
            "baselines.optimizers",
            ["adam", "adm"],
            "unknown classical optimizer 'adm'. Did you mean",
        ),
        ("scale", "huge", "unknown scale 'huge'; known: paper, quick, smoke"),
        ("scale", ["smoke"], "unknown scale"),
        ("scale", "../scales/smoke", "scale: "),
    ],
)
def test_refused(path, value, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build(**({"scale": value} if path == "scale" else nested(path, value)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("transfer.tasks", ["ant"]),
        ("transfer.tuning_tasks", ["ant"]),
        ("transfer.variant_tasks", ["ant"]),
        ("ablations.rewards.tasks", ["ant"]),
        ("analysis.sources.x.task", "ant"),
    ],
)
def test_a_task_that_does_not_work_on_the_backend(monkeypatch, path, value):
    monkeypatch.setitem(BRAX_BACKENDS, "ant", ("generalized", "mjx"))
    settings = nested(path, value)
    wanted = rf"^{path}: task 'ant' cannot use backend 'spring', only generalized, mjx\.$"
    with pytest.raises(ConfigError, match=wanted):
        build(**settings)
    build(**config.merge(settings, nested("transfer.backend", "mjx")))


def test_rows_of_a_sweep_and_recipes_of_their_own_are_checked_too(tmp_path):
    (tmp_path / "t.tsv").write_text("optimizer.name\nlinear\nliner\n")
    sweeps = {"mine": {"recipe": "linear", "table": str(tmp_path / "t.tsv")}}
    with pytest.raises(ConfigError, match="row 2: optimizer: unknown learned optimizer 'liner'"):
        read_sweep(build(sweeps=sweeps), "mine")
    recipe = build().recipes["linear"].model_dump() | {"objective": "late_return"}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(ConfigError, match=r"r\.yaml: estimator .* cannot use objective"):
        config.load_recipe(tmp_path / "r.yaml")


def test_missing_section_and_many_problems():
    settings = config.read_yaml(FOLDER / "config.yaml") | {"scale": "smoke"}
    del settings["ablations"]
    with pytest.raises(ConfigError, match="ablations: Field required"):
        config.build(settings, FOLDER)
    with pytest.raises(ConfigError, match=r"a0: unknown key; .*; a4: unknown key \(and 3 more\)"):
        build(**{f"a{i}": 1 for i in range(8)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1\nb: }", "not valid YAML: .*line 2"),
        (b"- 1\n- 2\n", "must be a mapping"),
        (b"", "must be a mapping"),
        (b"just text", "must be a mapping"),
        (b"a: !!python/object/apply:os.getcwd []", "not valid YAML: .*python/object"),
        (b"\xff\xfe\x80", "cannot be read"),
        (None, "no such file"),
    ],
)
def test_unreadable_yaml(tmp_path, content, message):
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{path}: {message}") as caught:
        config.read_yaml(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid JSON"),
        (b"{}", "scale: Field required"),
        (b"[1]", "input should be a valid dictionary"),
        (b"\xff\xfe\x80", "cannot be read"),
        (None, "no such file"),
    ],
)
def test_unreadable_resolved_configuration(tmp_path, content, message):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{path}: .*{message}"):
        config.load(path)


def test_folder_instead_of_a_file(tmp_path):
    for read in (config.read_yaml, config.load):
        with pytest.raises(ConfigError, match=f"^{tmp_path}: cannot be read"):
            read(tmp_path)


# The command line


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """Run `l2o` in an empty folder that holds a resolved configuration."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path.parent / "cache"),  # JAX makes the folder
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "100",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }.items():
        monkeypatch.setenv(name, value)
    config.write(build(), "smoke.json")

    def run(*argv):
        code = main(argv)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            "evaluate --task small_dense_shrt --optimizer adam --learning-rate 0.1",
            "unknown toy task 'small_dense_shrt'. Did you mean 'small_dense_short'?",
        ),
        (
            "evaluate --task catch --optimizer adm --learning-rate 0.1",
            "unknown optimizer 'adm'. Did you mean 'adam'?",
        ),
        ("evaluate --task catch --optimizer adm", "unknown optimizer 'adm'. Did you mean 'adam'?"),
        ("evaluate --task catch --optimizer adam", "'adam' needs a learning rate; give --learn"),
        ("evaluate --task catch --optimizer x.safetensors", "x.safetensors: no such weight file."),
        ("evaluate --task catch --optimizer smoke.json", "smoke.json: not a complete safetensors"),
        (
            "evaluate --task catch --optimizer adam --learning-rate 0.1 --torso D33",
            "torso: input should be 'D32', 'D256' or 'C16-D32'; got 'D33'",
        ),
        (
            "evaluate --task catch --optimizer adam --learning-rate 0.1 --updates 0",
            "updates: input should be greater than 0; got 0",
        ),
        (
            "evaluate --task catch --optimizer adam --learning-rate 1 --updates 1 --environments 0",
            "environments: input should be greater than 0; got 0",
        ),
        (
            "evaluate --task catch --optimizer adam --learning-rate 0.1 --updates 1 --seeds 0",
            "--seeds: must be at least 1",
        ),
        ("baselines --config none.json --task catch", "none.json: no such file."),
        (
            "meta-train --config smoke.json --recipe optim4rl_c",
            "unknown recipe 'optim4rl_c'. Did you mean 'optim4rl_m'?",
        ),
        ("meta-train --config none.yaml", "none.yaml: no such file."),
        ("meta-train --config smoke.json", "smoke.json: optimizer: Field required"),
        ("config --config none.yaml", "none.yaml: no such file."),
        (f"config --config {FOLDER}/config.yaml --scale smke", "scale: unknown scale 'smke'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, tmp_path, argv, message):
    code, out, err = cli(*argv.split(), "--out", "new")
    assert code == 2
    assert message in err and "Traceback" not in out + err
    last = err.rstrip("\n").splitlines()[-1]
    assert last.startswith(f"l2o {argv.split()[0]}: ") and message in last
    assert sorted(path.name for path in tmp_path.iterdir()) == ["smoke.json"]  # nothing written


def test_a_negative_seed_is_refused_before_anything_is_written(cli, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(build().recipes["linear"].model_dump()))
    code, _, err = cli("meta-train", "--config", str(path), "--seed", "-1", "--out", "out")
    assert (code, err) == (2, "l2o meta-train: --seed: must not be negative; got -1.\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "argv", [[], ["evalute"], ["evaluate"], ["config", "--scale"], ["list", "all"]]
)
def test_bad_usage(cli, argv):
    with pytest.raises(SystemExit) as stop:
        cli(*argv)
    assert stop.value.code == 2


OFF = "--xla_gpu_deterministic_ops=false"


@pytest.mark.parametrize(
    ("stage", "gpu", "flags", "expected"),
    [
        ("meta-train", True, "", "--xla_gpu_deterministic_ops=true"),
        ("meta-train", True, "--xla_a=1", "--xla_a=1 --xla_gpu_deterministic_ops=true"),
        ("meta-train", True, OFF, OFF),
        ("meta-train", False, "", ""),
        ("evaluate", True, "", ""),
    ],
)
def test_meta_training_is_deterministic_on_a_gpu(
    cli, tmp_path, monkeypatch, stage, gpu, flags, expected
):
    monkeypatch.setenv("XLA_FLAGS", flags)
    if gpu:  # what JAX's builds for a GPU install into
        (tmp_path / "site" / "jax_plugins").mkdir(parents=True)
        monkeypatch.syspath_prepend(tmp_path / "site")
    arguments = {
        "meta-train": ["--config", "no.yaml"],
        "evaluate": ["--task=no", "--optimizer=adam", "--learning-rate=1", "--updates=1"],
    }
    assert cli(stage, *arguments[stage], "--out", "out")[0] == 2
    assert os.environ["XLA_FLAGS"] == expected


def test_config_command(cli, tmp_path):
    code, out, err = cli("config", "--config", f"{FOLDER}/config.yaml", "--scale", "smoke")
    assert (code, err) == (0, "")
    assert out == config.dump(build()) == (tmp_path / "smoke.json").read_text()
    assert cli("config", "--config", f"{FOLDER}/config.yaml", "--out", "q/c.json")[:2] == (0, "")
    assert config.load(tmp_path / "q" / "c.json") == build("quick")


def test_list_command(cli):
    code, out, _ = cli("list", "optimizers")
    assert code == 0 and {"adam", "sign", "optim4rl_a", "optim4rl_b"} <= set(out.split())
