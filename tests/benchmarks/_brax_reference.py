"""Brax's own PPO beside ours: its environment, what it is asked to do, and its answers."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from l2o.config.parts import PPOTraining
from l2o.tasks.presets import preset

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("_brax_ppo_worker.py")
REFERENCE = ROOT / ".cache" / "brax-ppo" / "bin" / "python"
# jax 0.9.2 still has `device_put_replicated`; the rest are the newest that go with it.
REQUIREMENTS = (
    "jax==0.9.2",
    "jaxlib==0.9.2",
    "brax==0.14.2",
    "flax==0.12.6",
    "optax==0.2.8",
    "orbax-checkpoint==0.12.8",
    "mujoco==4.0.0",
    "mujoco-mjx==3.17.0",
    "numpy==2.4.6",
    "scipy==1.17.1",
)
# How Brax calls a hyperparameter, by our name for it.
ARGUMENTS = {
    "environments": "num_envs",
    "batch_size": "batch_size",
    "minibatches": "num_minibatches",
    "unroll_length": "unroll_length",
    "epochs": "num_updates_per_batch",
    "discount": "discounting",
    "entropy_weight": "entropy_cost",
    "reward_scale": "reward_scaling",
    "gae_lambda": "gae_lambda",
    "clip": "clipping_epsilon",
    "episode_length": "episode_length",
    "action_repeat": "action_repeat",
    "normalize_observations": "normalize_observations",
    "value_weight": "vf_loss_coefficient",
    "max_grad_norm": "max_grad_norm",
    "deterministic_evaluation": "deterministic_eval",
}
# What our loop does and has no setting for, or what this comparison settles: time limits are masked
# on both sides, because Brax bootstraps only where an environment says that time is out.
FIXED = {
    "normalize_advantage": True,
    "num_resets_per_eval": 0,
    "bootstrap_on_timeout": False,
}


def reference_request(
    task: str, training: PPOTraining, learning_rate: float, updates: int, points: int
) -> dict[str, Any]:
    """Return what the worker needs to do as our loop does.

    Args:
        task: A Brax task.
        training: How agents are trained on it.
        learning_rate: Adam's.
        updates: Agent updates of a lifetime, a multiple of ``points``.
        points: Evaluations, without the one before training, which only Brax does.
    """
    settings = dataclasses.replace(preset(task), **training.ppo.replacements())
    steps = settings.batch_size * settings.minibatches * settings.unroll_length
    steps *= settings.action_repeat
    return {
        "task": task,
        "backend": training.backend,
        "networks": {
            "policy_hidden_layer_sizes": list(settings.policy_layers),
            "value_hidden_layer_sizes": list(settings.value_layers),
        },
        "train": {theirs: getattr(settings, ours) for ours, theirs in ARGUMENTS.items()}
        | FIXED
        | {
            "learning_rate": learning_rate,
            "num_timesteps": updates * steps,
            "num_evals": points + 1,
            "num_eval_envs": training.episodes,
        },
    }


def make_environment(python: Path) -> None:
    """Make the environment of Brax's trainer; leave nothing half made."""
    folder = python.parent.parent
    if folder.exists():
        raise SystemExit(f"{folder} exists; remove it first to make it anew.")
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, *REQUIREMENTS], check=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


class Reference:
    """The worker: iterate over what it says, and ``resume`` it after each line if it is paced."""

    def __init__(self, python: Path, request: dict[str, Any]) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed on exit
        self.process = subprocess.Popen(
            # -I: without this project's PYTHONPATH.
            [str(python), "-I", str(WORKER), json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},  # XLA reports its cache as errors
        )

    def __enter__(self) -> "Reference":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            pipe.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while line := self.process.stdout.readline():
            yield json.loads(line)
        if self.process.wait():
            self.errors.seek(0)
            tail = "".join(self.errors.readlines()[-5:])
            raise SystemExit(f"Brax's trainer ended with {self.process.returncode}:\n{tail}")

    def resume(self) -> None:
        """Let it go on."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
