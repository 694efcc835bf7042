"""What SECURITY.md promises of the code, the rules and the commands around them."""

import ast
import io
import json
import os
import re
import shutil
import string
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

RULES = sorted([*(ROOT / "workflow").rglob("*.smk"), ROOT / "Snakefile"])
HELPERS = sorted(p for p in (ROOT / "tests").rglob("*.py") if not p.name.startswith("test_"))
SOURCES = [*sorted(ROOT.glob("l2o/**/*.py")), *RULES, *HELPERS]

# The code

# Of programs as their names and operators; texts and comments are left out.
FORBIDDEN = {
    "loads pickles": r"\b(_?pickle|cPickle|dill|cloudpickle|joblib|shelve|marshal|read_pickle)\b",
    "lets arrays hold pickles": r"\ballow_pickle = (?!False\b)",
    "loads pickled weights": r"\btorch \. load\b",
    "loads YAML that can execute": r"\byaml \. (full_|unsafe_)?load(_all)?\b|from yaml\b",
    "evaluates texts": r"(?<!\. )\b(eval|exec|compile|__import__) \(",
    "calls a shell": r"\bshell = (?!False\b)|\b(shell|system|popen|getoutput|getstatusoutput) \(",
}
PLANTED = {
    "loads pickles": ["import pickle as p", "from joblib import load", "pd.read_pickle(path)"],
    "lets arrays hold pickles": ["np.load(path, allow_pickle=True)", "f(allow_pickle=chosen)"],
    "loads pickled weights": ["torch.load(path)"],
    "loads YAML that can execute": [
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "yaml.unsafe_load(text)",
        "from yaml import load",
    ],
    "evaluates texts": ["eval(text)", "x = exec(text)"],
    "calls a shell": [
        "subprocess.run(command, shell=True)",
        "os.system(command)",
        "subprocess.getoutput(command)",
        "rule a:\n    run:\n        shell(command)\n",
    ],
}


def dangers(source: str) -> list[str]:
    """Return what a program does that it must not; the files of Snakemake have Python's tokens."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    words = " ".join(t.string for t in tokens if t.type in (tokenize.NAME, tokenize.OP))
    # `platform.system()` is no shell.
    words = words.replace("platform . system", "")
    return [what for what, pattern in FORBIDDEN.items() if re.search(pattern, words)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_has_no_way_from_data_to_code(path: Path) -> None:
    assert dangers(path.read_text()) == []


@pytest.mark.parametrize("what", PLANTED)
def test_what_must_not_be_is_found(what: str) -> None:
    assert PLANTED.keys() == FORBIDDEN.keys()
    for source in PLANTED[what]:
        assert what in dangers(source), source
    assert (
        dangers('"eval(pickle)"  # yaml.load\nre.compile(x)\nnp.load(x, allow_pickle=False)') == []
    )


def bandit(*paths: str) -> subprocess.CompletedProcess:
    """Run ruff's security rules."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--preview", "--select", "S"]
    # Asserts, programs started without a shell, and the SVG that report/svg.py has drawn itself.
    ignored = ["--ignore", "S101,S404,S603,S606,S607,S704"]
    return subprocess.run([*command, *ignored, *paths], cwd=ROOT, capture_output=True, text=True)


def test_security_rules_of_the_linter(tmp_path: Path) -> None:
    done = bandit("l2o")
    assert done.returncode == 0, done.stdout
    (tmp_path / "planted.py").write_text("import tempfile\nname = tempfile.mktemp()\n")
    assert "mktemp" in bandit(str(tmp_path)).stdout


EVERY_INTERFACE = re.compile(r"(?<![\d.])0\.0\.0\.0(?![\d.])|\[::\]")


def test_nothing_listens_on_every_interface() -> None:
    folders = [ROOT / name for name in (".ci", "l2o", "profiles", "slurm", "tests", "workflow")]
    paths = {path for folder in folders for path in folder.rglob("*")} - {Path(__file__)}
    texts = (".py", ".smk", ".yaml", ".j2", "")
    listed = {path for path in paths if path.is_file() and path.suffix in texts}
    for path in {*listed, ROOT / "Makefile", ROOT / "Snakefile"}:
        assert not EVERY_INTERFACE.search(path.read_text()), path
    assert EVERY_INTERFACE.search('mlflow.server(host="0.0.0.0")')


# The rules

NUMBERS = {"params.devices"}  # validated as numbers by l2o.config.models


def shell_commands(source: str) -> Iterator[str]:
    """Yield the command of every rule; one that Python fills in (an f-string) is an error."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for i, token in enumerate(tokens):
        if token.string == "shell" and tokens[i + 1].string == ":":
            parts = []
            for part in tokens[i + 2 :]:
                if part.type == tokenize.STRING:
                    parts.append(ast.literal_eval(part.string))
                elif part.string.strip():
                    break
            assert parts, f"line {token.start[0]}: no plain text"
            yield "".join(parts)


def unquoted(command: str) -> list[str]:
    """Return the fields of a command that the shell would read as more than one word."""
    fields = [part[1:3] for part in string.Formatter().parse(command) if part[1] is not None]
    return [name for name, how in fields if how != "q" and name not in NUMBERS]


def test_rules_quote_everything() -> None:
    commands = [command for path in RULES for command in shell_commands(path.read_text())]
    assert len(commands) > 15
    for command in commands:
        assert unquoted(command) == [], command
        # Within quotes of its own, a quoted field would be bare.
        assert not set(command) & set("'\"`$"), command


def test_unquoted_fields_are_found() -> None:
    rule = 'rule a:\n    shell:\n        "l2o {input:q}"\n        " --name {wildcards.name}"\n'
    (command,) = shell_commands(rule)
    assert unquoted(command) == ["wildcards.name"]
    assert unquoted("{params.out:q} {params.devices} {output.run!r}") == ["output.run"]
    with pytest.raises((AssertionError, ValueError)):
        list(shell_commands('rule a:\n    shell:\n        f"l2o {NAME}"\n'))


# The commands around


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What `.ci` needs, and an environment that is ready."""
    (tmp_path / ".ci").mkdir()
    for name in ("audit", "environment"):
        shutil.copy(ROOT / ".ci" / name, tmp_path / ".ci")
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text("")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".ready").write_text("")
    for name in ("requirements.lock", "pyproject.toml"):
        os.utime(tmp_path / name, (0, 0))
    return tmp_path


def program(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


def call(
    place: Path, *command: str, path: str = "", **variables: str
) -> subprocess.CompletedProcess:
    own = {"PATH": f"{path or place}{os.pathsep}/usr/bin{os.pathsep}/bin", "HOME": str(place)}
    return subprocess.run(
        command, cwd=place, env=own | variables, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("name", ["PYTHON", "L2O_VENV"])
@pytest.mark.parametrize("value", ["x; touch canary", "$(touch canary)", "a b", "-rf"], ids=ascii)
def test_the_environment_takes_variables_as_they_are(place: Path, name: str, value: str) -> None:
    variables = {"PYTHON": "no-python", "L2O_VENV": "new", name: value}
    done = call(place, ".ci/environment", **variables)
    assert done.returncode == 2 and "needs Python 3.11 to 3.13" in done.stderr
    assert f"PYTHON={variables['PYTHON']};" in done.stderr
    assert sorted(path.name for path in place.iterdir()) == sorted(
        [".ci", ".venv", "pyproject.toml", "requirements.lock"]
    )


# A stand-in for pip-audit: it leaves a report where --output says; of what is known, another one.
AUDIT = """
while [ $# -gt 0 ]; do
  case "$1" in --output) out=$2; shift;; --requirement) asked=$2; shift;; esac
  shift
done
report=$REPORT
[ "$asked" = requirements.lock ] || { report=$KNOWN && grep -qx pip==23.2 "$asked"; } || exit 9
[ -z "$report" ] || printf "%s" "$report" > "$out"
echo "ERROR: no route to host" >&2
exit "$STATUS"
"""
CLEAN = {"name": "jax", "version": "0.10.2", "vulns": []}
BAD = {"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": ["CVE-1"], "description": "bad"}
VULNERABLE = {"name": "flask", "version": "1.0", "vulns": [BAD]}
UNKNOWN = {"name": "l2o-rl", "skip_reason": "not found"}


def audit(place: Path, **variables: str) -> tuple[int, str]:
    path = f"{place / 'bin'}{os.pathsep}{Path(sys.executable).parent}"
    done = call(place, ".ci/audit", path=path, **variables)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("packages", "status", "code", "said"),
    [
        ([CLEAN], 0, 0, "audit: 1 packages looked up, 0 of them vulnerable\n"),
        ([CLEAN, UNKNOWN], 0, 0, "audit: not in the database: l2o-rl\n"),
        ([CLEAN, VULNERABLE], 1, 1, "audit: flask 1.0: PYSEC-1, CVE-1; fixed in 2.1\n"),
        (None, 1, 0, "AUDIT SKIPPED: pip-audit gave no report: ERROR: no route to host\n"),
    ],
)
def test_audit(place: Path, packages: list | None, status: int, code: int, said: str) -> None:
    program(place / "bin" / "pip-audit", AUDIT)
    report = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    known = json.dumps({"dependencies": [VULNERABLE]})
    found, out = audit(place, REPORT=report, KNOWN=known, STATUS=str(status))
    assert found == code and said in out
    assert ("AUDIT SKIPPED" in out) == said.startswith("AUDIT SKIPPED")


@pytest.mark.parametrize("package", [CLEAN, UNKNOWN])
def test_an_audit_by_a_database_that_knows_nothing_is_skipped(place: Path, package: dict) -> None:
    program(place / "bin" / "pip-audit", AUDIT)
    known, report = (json.dumps({"dependencies": [one]}) for one in (package, CLEAN))
    code, out = audit(place, REPORT=report, KNOWN=known, STATUS="0")
    assert code == 0 and out.startswith("AUDIT SKIPPED: the database does not know")


def test_an_audit_that_does_not_end_is_skipped(place: Path) -> None:
    program(place / "bin" / "pip-audit", "exec sleep 30")
    assert audit(place, AUDIT_LIMIT="1") == (0, "AUDIT SKIPPED: no answer within 1 s\n")


def test_an_audit_without_pip_audit_is_skipped(place: Path) -> None:
    """Nothing here has it, and what would fetch it cannot."""
    program(place / "bin" / "uvx", "echo no network >&2", "exit 2")
    assert audit(place) == (0, "AUDIT SKIPPED: pip-audit gave no report: no network\n")
