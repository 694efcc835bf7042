"""A job on trial, really: as it is, and where it does not fit the machine."""

import sys
import time

import pytest
from places import ROOT

from l2o.cli import main
from l2o.config import files
from l2o.errors import ConfigError
from l2o.evaluation import memory
from l2o.files import read_json
from l2o.workflow import child
from l2o.workflow.trials import rehearsal

pytestmark = pytest.mark.long


@pytest.fixture
def rehearse(tmp_path, monkeypatch):
    """Rehearse meta-training of the recipe `linear`; return what was found."""
    for variable in ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        monkeypatch.setenv(variable, "")  # restored afterwards
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    settings = files.read_yaml(ROOT / "config/config.yaml") | {"scale": "smoke"}
    config = rehearsal(files.build(settings, ROOT / "config"))
    path = tmp_path / ".rehearsal" / "config.json"
    files.write(config, path)

    def run(code=0):
        words = ["meta-train", "--config", str(path), "--recipe", "linear", "--seed", "0"]
        out = path.parent / "meta_train/linear/seed_0"
        assert main([*words, "--out", str(out), "--state", str(tmp_path / "state")]) == code
        assert not (tmp_path / "state").exists()
        assert not any((path.parent / ".scratch").iterdir())
        return read_json(path.parent / "found/meta_train_linear_0.json"), out

    return run


def test_a_job_that_fits(rehearse):
    found, out = rehearse()
    assert found["stage"] == "meta_train" and found["problem"] is None
    assert found["compile_s"] > 0.1 and 1e5 < found["bytes"] < 1e10
    assert [run["work"][0] for run in found["runs"]][:3] == [1, 1, 8] and found["divisor"] == 1
    assert all(run["total_s"] > run["import_s"] > 0 for run in found["runs"])
    record = read_json(out / "run.json")
    assert record["config"]["outer_steps"] == 1 and record["config"]["agents"] == 8
    names = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert names == ["step_000000.safetensors", "step_000001.safetensors"]


def test_a_job_that_does_not_fit(rehearse, monkeypatch):
    """It is compiled, and run with smaller batches: what comes later needs files of its kind."""
    monkeypatch.setattr(memory, "free_bytes", lambda: 1024)
    found, out = rehearse()
    assert found["problem"].startswith("outer loop needs ") and "are free" in found["problem"]
    assert found["advice"][0].startswith("try recipes.linear.segment 1 instead of None")
    assert found["divisor"] == 32 and found["runs"][0]["work"][1] == 2 * 4 * 2
    record = read_json(out / "run.json")
    assert record["config"]["agents"] == 2 and (out / "checkpoints").is_dir()


class TestChild:
    """Of another program than ours: only the watching counts here."""

    def watch(self, tmp_path, code, limit):
        one = child.Child([], tmp_path)
        began = time.monotonic()
        status = one.watch([sys.executable, "-c", code], limit)
        return one, status, time.monotonic() - began

    def test_time(self, tmp_path):
        one, status, seconds = self.watch(tmp_path, "import time; time.sleep(60)", 0.5)
        assert status and one.problem == "took more than 0.5 s" and seconds < 10

    def test_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr(child, "_RESERVE", 2.0)  # whatever is left is too little
        monkeypatch.setattr(child, "_LARGE", 0.0)
        one, status, _ = self.watch(tmp_path, "import time; time.sleep(60)", None)
        assert status and one.problem == "took the memory of this machine"

    def test_killed_by_the_system(self, tmp_path):
        code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        one, _, _ = self.watch(tmp_path, code, 60)
        assert one.problem == "was killed, as it took the memory of this machine"

    @pytest.mark.parametrize("status", [0, 2])
    def test_its_own_end(self, tmp_path, status):
        one, found, _ = self.watch(tmp_path, f"raise SystemExit({status})", 60)
        assert found == status and one.problem is None

    @pytest.mark.parametrize("text", ["soon", "0", "-1", "nan"])
    def test_the_limit_is_a_number(self, monkeypatch, text):
        monkeypatch.setenv(child.LIMIT_VARIABLE, text)
        with pytest.raises(ConfigError, match=r"L2O_REHEARSAL_SECONDS: must be a positive number"):
            child._limit()


def test_the_command_gets_other_places():
    words = ["tune", "--config", "a", "--expect", "v", "--runs", "r", "--state", "b", "--out", "c"]
    options = {"--config": "x", "--state": "y", "--out": "z"}
    wanted = ["tune", "--config", "x", "--runs", "r", "--state", "y", "--out", "z"]
    assert child._replaced(words, options) == wanted
