"""Gradient studies: what is recorded, what is computed from it, and the identity task."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from safetensors.numpy import save_file
from staging import run_stage

from l2o.analysis import identity, noise, recorder
from l2o.analysis.recorder import BINS, LAGS, LOWEST, Recorder
from l2o.choices import RESETS
from l2o.config import files as config
from l2o.config.analysis import Identity
from l2o.config.models import Config
from l2o.environments.digits import HELD_OUT, load_digits
from l2o.errors import L2OError, ResultsError
from l2o.evaluation.candidates import resolve
from l2o.evaluation.evaluate import Budget, evaluate
from l2o.evaluation.toy import ToyLifetime
from l2o.statistics.columns.gradients import BIN_WIDTH, PHASES, RECORDING_TABLES
from l2o.tasks.registry import make_toy_agent

pytestmark = pytest.mark.long

SHAPES = {"a": (3, 4), "b": (5,)}
PARAMETERS = 17
STEPS = 40


def unravel(flat: jax.Array) -> dict[str, jax.Array]:
    return {"a": flat[:12].reshape(3, 4), "b": flat[12:]}


def some_gradients(seed: int = 0) -> np.ndarray:
    """Gradients over many decades, some of them exactly zero, one not finite."""
    rng = np.random.default_rng(seed)
    g = rng.normal(size=(STEPS, PARAMETERS)) * 10 ** rng.uniform(-9, 1, (STEPS, PARAMETERS))
    g[rng.random(g.shape) < 0.2] = 0.0
    return g.astype(np.float32)


def run_recorder(g: np.ndarray, settings: Recorder) -> tuple[np.ndarray, recorder.Statistics]:
    tx = settings.wrap(optax.with_extra_args_support(optax.adam(0.1)), unravel)

    def step(carry: tuple, now: tuple) -> tuple:
        params, state = carry
        updates, state = tx.update(now[0], state, params, progress=now[1])
        return (params + updates, state), updates

    params = jnp.ones(PARAMETERS)
    inputs = (jnp.asarray(g), jnp.arange(len(g)) / len(g))
    (_, state), updates = jax.lax.scan(step, (params, tx.init(params)), inputs)
    return np.asarray(updates), jax.device_get(state.seen)


def test_recording_does_not_change_the_optimizer() -> None:
    g = some_gradients()
    updates, _ = run_recorder(g, Recorder())
    tx = optax.adam(0.1)
    state = tx.init(jnp.ones(PARAMETERS))
    for row, expected in zip(g, updates, strict=True):
        out, state = tx.update(row, state)
        np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_histograms_count_every_value_once() -> None:
    g = some_gradients()
    _, seen = run_recorder(g, Recorder(phases=4))
    assert seen.steps.tolist() == [10] * 4
    edges = LOWEST + BIN_WIDTH * np.arange(BINS + 1)
    for phase, part in enumerate(np.split(g, 4)):
        for tensor, columns in enumerate((slice(0, 12), slice(12, None))):
            values = part[:, columns].ravel()
            assert seen.zeros[phase, tensor] == (values == 0).sum()
            for sign, chosen in enumerate((values[values < 0], values[values > 0])):
                expected, _ = np.histogram(np.log10(np.abs(chosen.astype(float))), edges)
                found = seen.histogram[phase, tensor, sign]
                # A value on an edge may fall on either side of it.
                assert np.abs(np.cumsum(found) - np.cumsum(expected)).max() <= 1
                assert found.sum() == len(chosen)


def test_values_that_are_not_finite_are_counted_apart() -> None:
    g = some_gradients()
    g[5, 3], g[7, 14] = np.nan, np.inf
    _, seen = run_recorder(g, Recorder(phases=1))
    assert seen.lost.tolist() == [[1, 1]]
    values = seen.histogram.sum() + seen.zeros.sum() + seen.lost.sum()
    assert values == g.size
    assert np.isfinite(seen.cosine).all()


def test_tiny_and_huge_values_count_in_the_outermost_bins() -> None:
    values = np.array([1e-30, -1e-25, 1e9, 1e5, 0.1], np.float32)
    assert recorder.bin_of(jnp.asarray(values)).tolist() == [0, 0, BINS - 1, BINS - 1, 190]


def test_autocorrelation_is_that_of_numpy() -> None:
    rng = np.random.default_rng(1)
    g = np.cumsum(rng.normal(size=(STEPS, PARAMETERS)), axis=0).astype(np.float32)
    _, seen = run_recorder(g, Recorder(phases=2))
    for i, lag in enumerate(LAGS):
        for phase, steps in enumerate((range(20), range(20, 40))):
            pairs = [(g[t], g[t - lag]) for t in steps if t >= lag]
            assert seen.pairs[phase, i] == len(pairs)
            if pairs:
                cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]
                logs = [np.corrcoef(*np.log(np.abs(pair)))[0, 1] for pair in pairs]
                np.testing.assert_allclose(seen.cosine[phase, i], np.sum(cosines), rtol=1e-3)
                np.testing.assert_allclose(seen.correlation[phase, i], np.sum(logs), rtol=1e-3)


def test_samples_are_the_first_gradients_of_each_phase() -> None:
    g = some_gradients()
    _, seen = run_recorder(g, Recorder(phases=2, window=6, coordinates=5))
    kept = np.arange(5) * PARAMETERS // 5
    np.testing.assert_array_equal(seen.samples[0], g[:6, kept])
    np.testing.assert_array_equal(seen.samples[1], g[20:26, kept])
    _, short = run_recorder(g[:8], Recorder(phases=2, window=6, coordinates=5))
    assert np.isnan(short.samples[:, 4:]).all() and np.isfinite(short.samples[:, :4]).all()


def test_signal_and_noise_of_known_gradients() -> None:
    rng = np.random.default_rng(2)
    truth = np.array([3.0, 0.0, 0.0, 0.5])
    spread = np.array([1.0, 2.0, 0.0, 4.0])
    found = []
    for _ in range(200):
        g = truth + spread * rng.normal(size=(50, 4))
        moments = noise.Moments(np.int32(50), g.sum(0), (g**2).sum(0))
        found.append(noise.measure(moments))
    signal = np.array([f.signal for f in found])
    assert abs(signal.mean() - truth @ truth) < 3 * signal.std() / np.sqrt(len(signal))
    np.testing.assert_allclose(np.mean([f.noise for f in found]), (spread**2).sum(), rtol=0.05)
    # The first coordinate is clear always, the others as rarely as a 95% interval is wrong.
    assert 0.25 <= np.mean([f.clear for f in found]) < 0.4
    assert noise.measure(moments, slice(2, 3)) == (0.0, 0.0, 0.0)


def test_cosine_is_corrected_for_noise() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=300)
    other = truth + rng.normal(size=300)
    cosines = []
    for _ in range(40):
        pair = []
        for mean in (truth, other):
            g = mean + 5 * rng.normal(size=(64, 300))
            pair.append(noise.Moments(np.int32(64), g.sum(0), (g**2).sum(0)))
        cosines.append(noise.cosine(*pair))
    expected = truth @ other / np.linalg.norm(truth) / np.linalg.norm(other)
    assert abs(np.mean(cosines) - expected) < 0.02
    nothing = noise.Moments(np.int32(2), np.zeros(300), np.ones(300))
    assert np.isnan(noise.cosine(pair[0], nothing))


def test_digits_are_learned_and_held_out() -> None:
    images, labels = load_digits()
    assert images.shape == (1797, 64) and 0 <= images.min() < images.max() == 1
    assert np.bincount(labels[-HELD_OUT:]).min() > 20
    agent = make_toy_agent("digits")
    train = {image.tobytes() for image in images[:-HELD_OUT]}
    actor = agent.init_actor(jax.random.key(0), 512)
    _, batch, returns = agent.rollout(agent.init_params(jax.random.key(1)), actor, actor_key())
    assert all(np.asarray(image).tobytes() in train for image in batch.observation[0])
    assert 0 <= returns.total <= returns.episodes == 512
    curves = evaluate(
        "digits", ToyLifetime(agent, 64), [resolve("adam", 0.01)], [0, 1], Budget(200, 2)
    )
    assert curves["return"].iloc[-1] > 0.9


def actor_key() -> jax.Array:
    return jax.random.key(2)


def test_classifier_minimises_the_cross_entropy() -> None:
    agent = make_toy_agent("digits")
    params = agent.init_params(jax.random.key(0))
    actor = agent.init_actor(jax.random.key(1), 32)
    _, batch, _ = agent.rollout(params, actor, actor_key())
    logits = agent.network.apply({"params": params}, batch.observation)
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, batch.action).mean()
    total, terms = agent.loss(params, batch)
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    assert terms["actor"] == total
    np.testing.assert_allclose(agent.loss(params, batch, 3.0)[0], 3 * expected, rtol=1e-6)


@pytest.mark.parametrize("name", identity.CODINGS)
def test_decoding_undoes_encoding(name: str) -> None:
    coding = identity.CODINGS[name]
    magnitude = 10.0 ** np.linspace(-7, -0.01, 50)
    g = jnp.asarray(np.concatenate([magnitude, -magnitude]), jnp.float32)
    np.testing.assert_allclose(coding.decode(coding.target(g)), g, rtol=2e-3)
    assert coding.encode(g).shape[1] == len(g)


def test_fourier_features_tell_magnitudes_apart() -> None:
    g = jnp.asarray(10.0 ** np.arange(-12, 2, 0.25), jnp.float32)
    features = np.asarray(identity.CODINGS["fourier"].encode(g)).T
    apart = np.linalg.norm(features[:, None] - features[None], axis=-1)
    assert apart[~np.eye(len(g), dtype=bool)].min() > 0.5


def test_identity_is_learned_where_it_is_easy() -> None:
    """One magnitude and both signs: any processing will do."""
    rng = np.random.default_rng(6)
    samples = 0.5 * rng.choice([-1.0, 1.0], (3, 2, 8, 32)).astype(np.float32)
    settings = Identity(
        learning_rates=[0.0001, 0.01], tuning_seeds=1, seeds=2, steps=600, unroll=2, coordinates=64
    )
    for name in ("none", "sign_log_scaled"):
        table = identity._train(name, samples, settings)
        assert table["chosen"].tolist() == [False, True, True]
        assert table["learning_rate"].tolist() == [0.0001, 0.01, 0.01]
        assert table[table["chosen"]]["test"].min() > 0.95 > table["test"][0]


def test_samples_that_cannot_be_used(tmp_path: object) -> None:
    with pytest.raises(ResultsError, match="cannot be read"):
        identity.read_samples(tmp_path)
    save_file({"samples": np.zeros((1, 2, 3, 4), np.float32)}, tmp_path / "samples.safetensors")
    with pytest.raises(ResultsError, match="two agents"):
        identity.read_samples(tmp_path)
    samples = np.zeros((2, 2, 3, 4), np.float32)
    samples[0, 1, 2] = np.nan
    save_file({"samples": samples}, tmp_path / "samples.safetensors")
    assert identity.read_samples(tmp_path).shape == (2, 2, 2, 4)


def smoke() -> Config:
    return config.build(config.read_yaml("config/config.yaml") | {"scale": "smoke"})


def test_stages_write_what_they_document(tmp_path: object) -> None:
    settings = smoke()
    for folder, source in (("one", "small_dense_short"), ("one", "digits"), ("two", "digits")):
        run_stage("record", settings, source=source, out=tmp_path / folder / source)
    for source in settings.analysis.sources:
        for name, documented in RECORDING_TABLES.items():
            table = pd.read_parquet(tmp_path / "one" / source / f"{name}.parquet")
            assert set(table.columns) == set(documented)
            if source == "digits":
                again = pd.read_parquet(tmp_path / "two" / source / f"{name}.parquet")
                pd.testing.assert_frame_equal(table, again)
    table = pd.read_parquet(tmp_path / "one" / "small_dense_short" / "noise.parquet")
    assert set(table["moment"]) == set(PHASES) and (table["noise"] > 0).any()
    run_stage("drift", settings, out=tmp_path / "drift")
    seen = pd.read_parquet(tmp_path / "drift" / "drift.parquet")
    assert set(seen["scheme"]) == set(RESETS)
    counts = seen.groupby(["scheme", "population"])["count"].sum()
    sizes = settings.analysis.drift
    most = sizes.agents * sizes.unroll * sizes.outer_steps * 2_700
    assert (counts > 0.1 * most).all() and (counts < most).all()
    for name in ("range", "non_iid", "noise"):
        places = {"recordings": tmp_path / "one", "out": tmp_path / name}
        run_stage("study", settings, study=name, drift=tmp_path / "drift", **places)
        found = {path.suffix for path in (tmp_path / name).iterdir()}
        assert {".parquet", ".svg", ".png", ".json"} <= found
        assert json.loads((tmp_path / name / "run.json").read_text())["results"]


def test_unknown_names_are_refused(tmp_path: object) -> None:
    settings = smoke()
    with pytest.raises(L2OError, match=r"unknown source 'digit'.*digits"):
        run_stage("record", settings, source="digit", out=tmp_path)
    with pytest.raises(L2OError, match="unknown source"):
        run_stage("identity", settings, source="digit", out=tmp_path)
    with pytest.raises(L2OError, match="unknown study"):
        run_stage("study", settings, study="rnage", out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_frozen_agents_stay_as_they_are() -> None:
    agent = make_toy_agent("digits")
    tx = noise.FrozenProgram().transform(None, agent.unravel)
    g = jnp.arange(4.0)
    updates, state = tx.update(g, tx.init(jnp.ones(4)), jnp.ones(4), value=0.0, progress=0.5)
    assert not updates.any() and state.steps == 1
    np.testing.assert_array_equal(state.square, g**2)
    assert dataclasses.asdict(noise.FrozenProgram()) == {"optimizer": ()}
