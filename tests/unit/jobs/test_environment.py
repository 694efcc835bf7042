"""What a cluster or a container gives or does not: devices, a home, a cache, standard streams."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from l2o import choices
from l2o.cli import main
from l2o.config import files
from l2o.jobs.accelerators import jax_problem
from l2o.jobs.environment import prepare
from l2o.jobs.streams import open_streams

CACHE = "JAX_COMPILATION_CACHE_DIR"
CLI = [sys.executable, "-m", "l2o.cli"]
LIST = [*CLI, "list", "tasks"]
TASKS = sorted([*choices.TOY_TASKS, *choices.BRAX_TASKS, *choices.GYMNAX_TASKS])
EVALUATE = [
    *("evaluate", "--task", "small_dense_short", "--optimizer", "sign", "--learning-rate", "0.1"),
    *("--seeds", "1", "--environments", "4", "--updates", "4", "--points", "1"),
]


def start(command, folder, *, variables=None, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | (variables or {})
    environment = {name: value for name, value in environment.items() if value is not None}
    return subprocess.run(command, cwd=folder, env=environment, text=True, timeout=120, **options)


# Devices


@pytest.mark.parametrize(
    ("variable", "value", "said", "advice"),
    [
        ("JAX_PLATFORMS", "cuda", "cuda: ", "available here: cpu; set JAX_PLATFORMS=cpu, or unset"),
        ("JAX_PLATFORMS", "gpuu", "'gpuu' is not in the list", "available here: cpu; set JAX_"),
        ("JAX_NUM_CPU_DEVICES", "0", "backend 'cpu'", "JAX_NUM_CPU_DEVICES"),
        ("JAX_ENABLE_X64", "banana", "'banana' for environment 'JAX_ENABLE_X64'", "correct the"),
        ("JAX_LOGGING_LEVEL", "loud", "JAX_LOGGING_LEVEL: Invalid value", "correct the variable"),
    ],
)
def test_what_jax_cannot_use_is_one_line(tmp_path, variable, value, said, advice):
    done = start([*CLI, *EVALUATE, "--out", "out"], tmp_path, variables={variable: value})
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("l2o evaluate: ") and done.stderr.count("\n") == 1
    assert said in done.stderr and advice in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_had_begun_is_one_that_failed(tmp_path):
    settings = files.read_yaml(ROOT / "config" / "config.yaml") | {"scale": "smoke"}
    files.write(files.build(settings, ROOT / "config"), tmp_path / "c.json")
    command = [*CLI, "baselines", "--config", "c.json", "--task", "catch", "--out", "out"]
    done = start(command, tmp_path, variables={"JAX_PLATFORMS": "cuda"})
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.failed.json"]
    record = json.loads((tmp_path / "out" / "run.failed.json").read_text())
    assert record["status"] == "failed" and record["device"] is None


@pytest.mark.parametrize(
    "text",
    [
        "Unable to initialize backend 'cuda': FAILED_PRECONDITION: No visible GPU devices.",
        "INTERNAL: CUDA error: Failed call to cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        "INTERNAL: no supported devices found for platform CUDA",
        "CUDA driver version is insufficient for CUDA runtime version",
        "FAILED_PRECONDITION: DNN library initialization failed.",
        "Unknown backend: 'gpu' requested, but no platforms that are instances of gpu are present.",
    ],
)
def test_broken_drivers_are_told_from_bugs(text):
    assert text.split("'")[0].rstrip(".") in jax_problem(RuntimeError(text))
    # JAX works here, so these are ours.
    others = RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS"), AssertionError(), ValueError(text)
    assert [jax_problem(error) for error in others] == [None] * 3


def test_names_are_listed_without_a_device(tmp_path):
    done = start(LIST, tmp_path, variables={"JAX_PLATFORMS": "cuda"})
    assert done.stdout.split() == TASKS and done.stderr == ""


# A home, and a cache of compiled programs


@pytest.mark.parametrize(
    ("variables", "cache", "has_note"),
    [
        ({"HOME": "{}/h"}, "{}/h/.cache/l2o/jax", False),
        ({"HOME": "{}/h", "XDG_CACHE_HOME": ""}, "{}/h/.cache/l2o/jax", False),
        ({"HOME": "{}/h", "XDG_CACHE_HOME": "x"}, "{}/h/.cache/l2o/jax", False),
        ({"HOME": "{}/h", "XDG_CACHE_HOME": "{}/x"}, "{}/x/l2o/jax", False),
        ({"XDG_CACHE_HOME": "{}/x"}, "{}/x/l2o/jax", False),
        ({"HOME": "", "XDG_CACHE_HOME": "{}/x"}, "{}/x/l2o/jax", False),
        ({}, "", True),
        ({"HOME": "h"}, "", True),
        ({"HOME": os.devnull}, "", True),
        ({"HOME": "{}/file"}, "", True),
        ({"HOME": "{}/h", CACHE: "{}/file"}, "", True),
        ({"HOME": "{}/h", CACHE: "{}/file/c"}, "", True),
        ({"HOME": "{}/h", CACHE: "~/c"}, "{}/h/c", False),
        ({CACHE: "~/c"}, "", True),
        ({"HOME": "{}/h", CACHE: ""}, "", False),
        ({"HOME": "{}/h", CACHE: "gs://bucket/c"}, "gs://bucket/c", False),
    ],
)
def test_the_cache_is_where_it_can_be(tmp_path, monkeypatch, variables, cache, has_note):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for name in ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", CACHE):
        monkeypatch.setenv(name, "")  # put back afterwards, whatever it is set to
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    note = prepare(False)
    assert os.environ[CACHE] == cache.format(tmp_path)
    assert bool(note) == has_note and "\n" not in (note or "")
    assert {path.name for path in tmp_path.iterdir()} <= {"file", "h", "x"}
    assert Path.home().is_absolute()  # what libraries ask for


def test_without_a_cache_jobs_run(tmp_path):
    (tmp_path / "file").write_text("")
    variables = dict.fromkeys(("HOME", "XDG_CACHE_HOME", CACHE, "MPLCONFIGDIR", "TMPDIR"))
    variables |= {"HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path / "none")}
    done = start([*CLI, *EVALUATE, "--out", "out"], tmp_path, variables=variables)
    assert done.returncode == 0 and (tmp_path / "out" / "run.json").is_file()
    # The progress, and what was missing.
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["evaluate", "l2o evaluate"]
    assert "compiled programs were not cached" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out"]


# Standard streams


def test_nobody_reads_on(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = start(LIST, tmp_path, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_files_of_ours(tmp_path, closed):
    script = f'"$@" {closed}'
    config = ["config", "--config", str(ROOT / "config" / "config.yaml"), "--out", "c.json"]
    done = start(["sh", "-c", script, "sh", *CLI, *config], tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    files.load(tmp_path / "c.json")


@pytest.mark.parametrize("unbuffered", [None, "1"])
def test_no_space_for_what_is_printed(tmp_path, unbuffered):
    with open("/dev/full", "w") as full:
        done = start(LIST, tmp_path, variables={"PYTHONUNBUFFERED": unbuffered}, stdout=full)
    assert done.returncode == 2
    assert done.stderr == "l2o list: standard output: the disk is full; make space and run again.\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_name_can_be_printed(monkeypatch, encoding):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    open_streams()
    print("\u0161 \udcff", flush=True)  # no letter of Latin-1, and no character at all
    assert b" \\udcff" in written.getvalue()


def test_a_working_directory_that_is_gone(tmp_path):
    script = 'rmdir "$PWD"; "$@"'
    config = [*CLI, "config", "--config", str(ROOT / "config" / "config.yaml"), "--out", "c.json"]
    gone = "l2o config: the working directory is gone; change to another one and run again.\n"
    for words, code, said in ((LIST, 0, ""), (config, 2, gone)):
        folder = tmp_path / "gone"
        folder.mkdir()
        done = start(["sh", "-c", script, "sh", *words], folder)
        assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(24, "Too many open files", "x"), "x: too many files are open at once; raise the"),
        (RuntimeError("can't start new thread"), "no more threads may be started; raise the limit"),
        (FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), "set TMPDIR"),
    ],
)
def test_limits_are_named(tmp_path, monkeypatch, capsys, error, said):
    def fail(args):
        raise error

    monkeypatch.setattr("l2o.tools.list.run", fail)
    assert main(["list", "tasks"]) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1
