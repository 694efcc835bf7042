import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest

from l2o.jobs import progress, provenance
from l2o.jobs.history import plain, read_history
from l2o.jobs.interrupts import Interrupted
from l2o.jobs.progress import CompileClock, Progress, format_seconds
from l2o.jobs.record import Run
from l2o.jobs.system_metrics import gpu_values


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "L2O_")):
            monkeypatch.delenv(name)


def read(path: Path) -> dict:
    return json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"bare {name}"))


def start(folder: Path, **changes) -> Run:
    return Run(folder, **({"stage": "meta_train", "config": {}, "seed": 0} | changes))


def test_importing_is_light():
    heavy = {"jax", "mlflow", "pandas", "numpy"}
    code = f"import sys, l2o.jobs.record; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


class TestRecord:
    def test_success(self, tmp_path, monkeypatch):
        monkeypatch.setenv("L2O_INVOCATION", "abc")
        config = {"lr": np.float32(0.5), "bound": math.inf, "sizes": (32, 64), "out": Path("x")}
        with start(tmp_path, config=config, seed=3, tags={"recipe": "optim4rl"}) as run:
            run.summary({"return": jnp.float32(0.25), "gap": math.nan})
        record = read(tmp_path / "run.json")
        assert record["status"] == "finished"
        assert record["config"] == {
            "lr": 0.5,
            "bound": "Infinity",
            "sizes": [32, 64],
            "out": "x",
        }
        assert record["results"] == {"return": 0.25, "gap": "NaN"}
        assert (record["stage"], record["seed"]) == ("meta_train", 3)
        assert record["tags"] == {"recipe": "optim4rl"}
        assert record["invocation"] == "abc"
        assert record["versions"]["jax"] == jax.__version__
        assert record["device"]["platform"] == jax.devices()[0].platform
        assert record["device"]["count"] == len(jax.devices())
        assert record["host_cores"] == os.cpu_count()
        assert record["started"] < record["ended"]
        assert 10e6 < record["peak_memory_bytes"] < 100e9
        assert not (tmp_path / "run.failed.json").exists()

    def test_failure_propagates_and_is_recorded(self, tmp_path):
        with pytest.raises(RuntimeError, match="diverged"), start(tmp_path) as run:
            run.log(1, {"loss": 1.0})
            raise RuntimeError("diverged")
        record = read(tmp_path / "run.failed.json")
        assert record["status"] == "failed"
        assert record["error"] == "RuntimeError: diverged"
        assert "test_record.py" in record["traceback"]
        assert not (tmp_path / "run.json").exists()
        assert [line["step"] for line in read_history(tmp_path)] == [1]

    def test_interruption_is_a_failure(self, tmp_path):
        with pytest.raises(KeyboardInterrupt), start(tmp_path):
            raise KeyboardInterrupt
        assert read(tmp_path / "run.failed.json")["error"].startswith("KeyboardInterrupt")

    def test_a_stale_record_never_survives(self, tmp_path):
        with start(tmp_path):
            pass
        with pytest.raises(ValueError, match="broken"), start(tmp_path):
            assert not (tmp_path / "run.json").exists()
            raise ValueError("broken")
        with start(tmp_path):
            assert not (tmp_path / "run.failed.json").exists()
        assert sorted(p.name for p in tmp_path.iterdir()) == ["run.json"]

    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            ({}, None),
            ({"SLURM_JOB_ID": "7"}, "7"),
            (
                {
                    "SLURM_JOB_ID": "9",
                    "SLURM_ARRAY_JOB_ID": "8",
                    "SLURM_ARRAY_TASK_ID": "2",
                },
                "8_2",
            ),
        ],
    )
    def test_slurm_job_id(self, tmp_path, monkeypatch, variables, expected):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with start(tmp_path):
            pass
        assert read(tmp_path / "run.json")["slurm_job_id"] == expected


class TestIdentity:
    def key(self, folder: Path, **changes) -> str:
        with start(folder, **changes):
            pass
        return read(folder / "run.json")["run_key"]

    def kill(self, folder: Path) -> None:
        """Leave what a job leaves that is killed."""
        code = f"""
import os, signal
from l2o.jobs.record import Run
with Run({str(folder)!r}, stage="meta_train", config={{}}, seed=0) as run:
    run.log(1, {{"loss": 1.0}})
    os.kill(os.getpid(), signal.SIGKILL)
"""
        assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL

    def test_every_execution_has_its_own(self, tmp_path):
        assert self.key(tmp_path) != self.key(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json"]

    def test_a_killed_job_keeps_its_own(self, tmp_path):
        self.kill(tmp_path)
        key = read(tmp_path / ".open.json")["run_key"]
        assert self.key(tmp_path) == key
        assert self.key(tmp_path) != key

    @pytest.mark.parametrize("change", [{"config": {"lr": 1}}, {"seed": 1}, {"tags": {"a": "b"}}])
    def test_another_job_in_its_place_does_not(self, tmp_path, change):
        self.kill(tmp_path)
        key = read(tmp_path / ".open.json")["run_key"]
        assert self.key(tmp_path, **change) != key

    def test_an_interrupted_job_keeps_its_own(self, tmp_path):
        with pytest.raises(Interrupted), start(tmp_path):
            raise Interrupted("saved")
        key = read(tmp_path / ".open.json")["run_key"]
        assert self.key(tmp_path) == key

    @pytest.mark.parametrize("text", ["{", "[]", "{}", '{"job": 1}'])
    def test_a_damaged_note_is_no_identity(self, tmp_path, text):
        (tmp_path / ".open.json").write_text(text)
        assert len(self.key(tmp_path)) == 32


class TestSystemMetrics:
    @pytest.fixture(autouse=True)
    def often(self, monkeypatch):
        monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")

    def samples(self, folder: Path) -> list[dict]:
        return list(read_history(folder, "system.jsonl"))

    def test_they_are_sampled_while_the_job_runs(self, tmp_path):
        with start(tmp_path):
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                pass
        samples = self.samples(tmp_path)
        assert [line["step"] for line in samples] == list(range(1, len(samples) + 1))
        assert 2 <= len(samples) <= 5
        busiest = max(s["metrics"]["process_cpu_utilization_percentage"] for s in samples)
        assert 20 < busiest < 1000
        megabytes = samples[-1]["metrics"]["process_memory_usage_megabytes"]
        assert megabytes == pytest.approx(psutil.Process().memory_info().rss / 1e6, rel=0.3)
        time.sleep(0.25)
        assert len(self.samples(tmp_path)) == len(samples)

    def test_they_go_on_after_a_kill_and_begin_anew_otherwise(self, tmp_path):
        def run(interrupt: bool) -> list[int]:
            with contextlib.suppress(Interrupted), start(tmp_path):
                time.sleep(0.25)
                if interrupt:
                    raise Interrupted("saved")
            return [line["step"] for line in self.samples(tmp_path)]

        first = run(True)
        second = run(False)
        assert len(second) > len(first) and second == list(range(1, len(second) + 1))
        assert len(run(False)) < len(second)

    def test_mlflow_s_switch_turns_them_off(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
        (tmp_path / "system.jsonl").write_text("of an earlier job")
        with start(tmp_path):
            time.sleep(0.25)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json"]

    def test_they_need_no_psutil(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "psutil", None)
        with start(tmp_path):
            time.sleep(0.25)
        assert set(self.samples(tmp_path)[0]["metrics"]) == {
            "process_cpu_utilization_percentage",
            "process_memory_usage_megabytes",
        }

    def test_what_the_driver_of_a_gpu_says(self):
        table = "0, 37, 1000, 81559, 123.4\n1, [N/A], 2000, 4000, [N/A]\n"
        assert gpu_values(table) == {
            "gpu_0_utilization_percentage": 37,
            "gpu_0_memory_usage_megabytes": 1048.6,
            "gpu_0_memory_usage_percentage": 1.2,
            "gpu_0_power_usage_watts": 123.4,
            "gpu_1_memory_usage_megabytes": 2097.2,
            "gpu_1_memory_usage_percentage": 50,
        }


class TestGitState:
    @pytest.fixture
    def package(self, tmp_path, monkeypatch):
        folder = tmp_path / "repository" / "l2o"
        folder.mkdir(parents=True)
        (folder / "provenance.py").write_text("")
        monkeypatch.setattr(provenance, "__file__", str(folder / "provenance.py"))
        return folder

    def commit(self, package: Path) -> None:
        git = ["git", "-C", str(package.parent), "-c", "user.name=a", "-c", "user.email=a@b.c"]
        for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
            subprocess.run([*git, *arguments], check=True, capture_output=True)

    def test_outside_a_repository(self, package, monkeypatch):
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(package.parent.parent))
        assert provenance.code()["git_commit"] is None
        assert provenance.code()["git_dirty"] is None

    def test_clean_then_edited(self, package):
        self.commit(package)
        state = provenance.code()
        assert len(state["git_commit"]) == 40
        assert state["git_dirty"] is False
        (package.parent / "notes.txt").write_text("not code")
        assert provenance.code()["git_dirty"] is False
        (package / "provenance.py").write_text("edited")
        assert provenance.code()["git_dirty"] is True

    def test_installed_into_an_ignored_environment(self, package):
        (package.parent / ".gitignore").write_text("/l2o/\n")
        self.commit(package)
        assert provenance.code()["git_commit"] is None

    def test_without_git(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        assert provenance.code()["git_commit"] is None


class TestHistory:
    def without_time(self, folder: Path) -> list[dict]:
        return [{"step": line["step"], "metrics": line["metrics"]} for line in read_history(folder)]

    def train(self, folder: Path, first: int, last: int, resume: int | None = None) -> None:
        with start(folder) as run:
            if resume is not None:
                run.resume(resume)
            for step in range(first, last + 1):
                run.log(step, {"loss": 1 / step, "norm": math.sqrt(step)})

    def test_values(self, tmp_path):
        before = time.time()
        with start(tmp_path) as run:
            run.log(0, {"a": math.nan, "b": -math.inf, "c": jnp.float32(2), "d": np.int64(3)})
            # Another process can read a line as soon as it is logged.
            assert len(list(read_history(tmp_path))) == 1
        (line,) = read_history(tmp_path)
        assert before - 1 < line["time"] < time.time() + 1
        metrics = line["metrics"]
        assert math.isnan(metrics.pop("a"))
        assert metrics == {"b": -math.inf, "c": 2.0, "d": 3.0}
        stored = read(tmp_path / "metrics.jsonl")["metrics"]
        assert (stored["a"], stored["b"]) == ("NaN", "-Infinity")

    def test_a_new_run_starts_a_new_history(self, tmp_path):
        self.train(tmp_path, 1, 5)
        self.train(tmp_path, 1, 2)
        assert [line["step"] for line in read_history(tmp_path)] == [1, 2]

    def test_a_run_that_logs_nothing_leaves_no_history(self, tmp_path):
        self.train(tmp_path, 1, 5)
        with start(tmp_path):
            pass
        assert list(read_history(tmp_path)) == []

    @pytest.mark.parametrize("checkpoint", [0, 4, 7])
    def test_a_resumed_history_equals_an_uninterrupted_one(self, tmp_path, checkpoint):
        self.train(tmp_path / "whole", 1, 10)
        self.train(tmp_path / "killed", 1, 7)
        with open(tmp_path / "killed" / "metrics.jsonl", "a") as file:
            file.write('{"step": 8, "metr')
        self.train(tmp_path / "killed", checkpoint + 1, 10, resume=checkpoint)
        assert self.without_time(tmp_path / "killed") == self.without_time(tmp_path / "whole")
        assert read(tmp_path / "killed" / "run.json")["resumed_from"] == checkpoint

    def test_resume_tells_what_the_history_holds(self, tmp_path):
        self.train(tmp_path, 1, 5)
        with start(tmp_path) as run:
            assert run.resume(9) == 5
            run.log(10, {})
            assert run.resume(3) == 3
            run.log(4, {})
            assert run.resume(0) is None
        with start(tmp_path / "new") as run:
            assert run.resume(9) is None

    def test_a_failure_before_resuming_keeps_the_history(self, tmp_path):
        self.train(tmp_path, 1, 5)
        with pytest.raises(ValueError, match="setup"), start(tmp_path):
            raise ValueError("setup")
        assert len(list(read_history(tmp_path))) == 5

    @pytest.mark.parametrize("step", [2, 3])
    def test_steps_must_increase(self, tmp_path, step):
        with start(tmp_path) as run:
            run.log(3, {})
            with pytest.raises(ValueError, match=f"step {step} was logged after step 3"):
                run.log(step, {})


class TestTimings:
    def test_they_add_up(self, tmp_path):
        with start(tmp_path) as run:
            with run.phase("setup"):
                time.sleep(0.02)
            for _ in range(2):
                with run.phase("train"):
                    jax.jit(lambda x: jnp.tanh(x) * 3 + len(str(time.time())))(jnp.ones(7))
        record = read(tmp_path / "run.json")
        timings = record["timings"]
        assert timings["total_s"] == pytest.approx(
            timings["import_s"] + timings["compile_s"] + timings["run_s"], abs=0.01
        )
        assert 0 < timings["compile_s"] <= record["phases"]["train"] + 0.01
        assert record["phases"]["setup"] >= 0.02

    def test_runs_of_one_process_share_its_time(self, tmp_path):
        with start(tmp_path / "first"):
            pass
        with start(tmp_path / "second"):
            pass
        assert read(tmp_path / "second" / "run.json")["timings"]["total_s"] < 5

    def test_the_process_start_is_known(self):
        code = (
            "import time, sys; time.sleep(0.5); from l2o.jobs.progress import process_start;"
            "print(time.monotonic() - process_start())"
        )
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert float(done.stdout) <= time.monotonic() - began + 0.05
        if sys.platform == "linux":
            assert float(done.stdout) >= 0.5

    def test_overlapping_spans_count_once(self):
        clock = CompileClock()
        for span in [(1, 2), (3, 4), (2.5, 5), (8, 9), (8.5, 9.5)]:
            clock.add(*span)
        assert clock.seconds == pytest.approx(1 + 2.5 + 1.5)

    @pytest.mark.parametrize("begin", ["phase", "progress"])
    def test_jax_may_be_imported_within_the_run(self, tmp_path, begin):
        """As by stages that import what they need in a function of their own."""
        compiled = jax.jit(lambda x: jnp.sin(x) * 19)
        with Run(tmp_path, stage="a", config={}) as run:
            run._clock.detach()  # as it would be without JAX
            if begin == "phase":
                with run.phase("train"):
                    compiled(jnp.ones(17)).block_until_ready()
            else:
                run.progress(1)
                compiled(jnp.ones(18)).block_until_ready()
        timings = json.loads((tmp_path / "run.json").read_text())["timings"]
        assert timings["compile_s"] > 0

    def test_compilation_inside_tracing_counts_once(self):
        def traced(x):
            with jax.ensure_compile_time_eval():
                constant = sum(float(jnp.linspace(0.0, k, 5 + k).std()) for k in range(1, 4))
            return x * constant

        clock = CompileClock()
        clock.attach()
        began = time.monotonic()
        jax.jit(traced)(jnp.ones(11)).block_until_ready()
        elapsed = time.monotonic() - began
        clock.detach()
        assert 0.3 * elapsed < clock.seconds <= elapsed + 0.01
        covered = clock.seconds
        jax.jit(lambda x: x - 17)(jnp.ones(13))
        assert clock.seconds == covered


class TestProgress:
    @pytest.fixture
    def clock(self, monkeypatch):
        class Clock:
            now = 100.0

            def monotonic(self) -> float:
                return self.now

        clock = Clock()
        monkeypatch.setattr(progress, "time", clock)
        return clock

    def test_a_log_file_gets_a_line_every_few_seconds_and_the_last(self, clock, capsys):
        line = Progress("meta_train", 20, unit="outer step")
        for done in range(1, 21):
            clock.now += 1.0
            line.update(done, score=done / 8, label="return")
        line.close()
        lines = capsys.readouterr().err.splitlines()
        assert lines == [
            "meta_train: 1/20 outer steps  5%  return 0.125",
            "meta_train: 6/20 outer steps  30%  1/s  14s left  return 0.75",
            "meta_train: 11/20 outer steps  55%  1/s  9s left  return 1.375",
            "meta_train: 16/20 outer steps  80%  1/s  4s left  return 2",
            "meta_train: 20/20 outer steps  100%  1/s  0s left  return 2.5",
        ]

    def test_speed_is_recent_and_ignores_what_was_done_before(self, clock, capsys):
        line = Progress("meta_train", 10_000, start=9_000)
        line.update(9_001)
        for _ in range(100):
            clock.now += 10
            line.update(line._samples[-1][1] + 1)
        for _ in range(10):
            clock.now += 10
            line.update(line._samples[-1][1] + 20)
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == "meta_train: continuing after step 9000 of 10000"
        assert "0.1/s" in lines[50]
        assert "2/s" in lines[-1]

    def test_a_terminal_shows_one_line(self, clock, capsys, monkeypatch):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        line = Progress("select", 2)
        line.update(1)
        line.update(1, score=0.5)
        assert capsys.readouterr().err == "\rselect: 1/2 steps  50%\x1b[K"
        line.close()
        assert capsys.readouterr().err == "\rselect: 1/2 steps  50%  score 0.5\x1b[K\n"

    def test_the_run_ends_the_line(self, tmp_path, clock, capsys, monkeypatch):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        with pytest.raises(ValueError, match="stop"), start(tmp_path) as run:
            run.progress(5).update(1)
            raise ValueError("stop")
        assert capsys.readouterr().err.endswith("\x1b[K\n")

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0.4, "0s"), (59.6, "1m00s"), (258, "4m18s"), (11100, "3h05m"), (176400, "2d01h")],
    )
    def test_durations(self, seconds, text):
        assert format_seconds(seconds) == text


def test_plain_keeps_types():
    value = {"flag": np.bool_(True), "none": None, 3: [np.arange(2), jnp.ones(())], "s": {1}}
    assert plain(value) == {"flag": True, "none": None, "3": [[0, 1], 1.0], "s": "{1}"}
