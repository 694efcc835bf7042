"""A whole scale on trial: planned at every scale, in a folder of its own."""

import json
import re

import pytest
from checkout import REPOSITORY, Checkout

SCALES = sorted(path.stem for path in (REPOSITORY / "config/scales").glob("*.yaml"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    checkout = Checkout(tmp_path_factory.mktemp("trials") / "fresh")
    checkout.without_messages()
    return checkout


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("target", "trial"), [("rehearse", "rehearsal"), ("miniature",) * 2])
def test_a_trial_is_planned_at_every_scale(checkout, scale, target, trial):
    done = checkout.snakemake("--dry-run", "--config", f"scale={scale}", "--", target)
    text = done.stdout + done.stderr
    rules = set(re.findall(r"^(?:local)?rule (\w+):", text, re.M))
    rules |= set(re.findall(r"^(\w+) +\d+$", text, re.M))
    whole = {"baselines", "meta_train", "select", "tune", "transfer", "transfer_summary"}
    whole |= {"level", "ablate", "report", target}
    studies = {"record", "drift", "study", "identity"}
    assert whole | (studies if target == "miniature" else set()) <= rules
    assert "track" not in rules
    made = {
        name for line in re.findall(r"^    output: (.*)$", text, re.M) for name in line.split(", ")
    }
    assert len(made) > 50
    assert all(name.startswith(f"results/{scale}/.{trial}/") for name in made)
    assert not (checkout.folder / "results").exists()


def test_a_trial_runs_beside_the_results(checkout):
    """What it writes, and what its jobs are told: the smaller configuration."""
    place = "results/smoke/.miniature"
    run = f"{place}/meta_train/linear/seed_0/run.json"
    checkout.environment["L2O_TRIAL"] = "miniature"
    checkout.snakemake("--config", "scale=smoke", "--", run)
    del checkout.environment["L2O_TRIAL"]
    small, full = (
        json.loads((checkout.folder / place / name).read_text())
        for name in ("config.json", "scale.json")
    )
    assert (small["trial"], full["trial"]) == ("miniature", None)
    outer = [config["recipes"]["linear"]["outer_steps"] for config in (small, full)]
    assert outer == [2, 8]
    (call,) = checkout.calls()
    assert f"{place}/config.json" in call["argv"]
    assert [path.name for path in (checkout.folder / "results/smoke").iterdir()] == [".miniature"]
