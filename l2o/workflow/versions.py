"""What the result of a job depends on, for the workflow to know when to run it again.

Snakemake's own triggers follow neither an imported package nor the parts of one configuration
file, nor what became of the results of a job that failed. Each rule therefore has a parameter from
here. Imports no jax.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from l2o import stages
from l2o.pipeline.contract import Job, plain_settings
from l2o.workflow.registry import get_stage

if TYPE_CHECKING:
    from l2o.config.models import Config

_ROOT = Path(__file__).parents[2]
_PACKAGE = "l2o"


class Versions:
    """Digests of the jobs of one configuration."""

    def __init__(self, config: Config) -> None:
        """Take the configuration."""
        self._config = config
        self._own: dict[Job, list[str]] = {}
        self._ancestors: dict[Job, frozenset[Job]] = {}

    def version(self, job: Job) -> str:
        """Return a digest of settings and code of a job, and of all jobs that its inputs come from.

        Those, because a job that fails loses its results: what was made from older ones then has
        nothing left that it could be older than, and would pass for up to date.
        """
        others = sorted(self._own_version(other) for other in self._all_before(job))
        return digest([self._own_version(job), others])

    def _own_version(self, job: Job) -> list[str]:
        if job not in self._own:
            settings = get_stage(job.stage).settings(self._config, **job.named)
            self._own[job] = [job.stage, digest(settings), code_version(job.stage)]
        return self._own[job]

    def _all_before(self, job: Job) -> frozenset[Job]:
        if job not in self._ancestors:
            needed = get_stage(job.stage).inputs(self._config, **job.named)
            direct = frozenset(item.job for item in needed if item.job is not None)
            self._ancestors[job] = direct.union(*(self._all_before(other) for other in direct))
        return self._ancestors[job]


def digest(value: object) -> str:
    """Return a digest of settings."""
    text = json.dumps(plain_settings(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def code_version(stage: str) -> str:
    """Return a digest of the source files that a stage's result depends on, read once.

    Raises:
        L2OError: There is no such stage.
    """
    get_stage(stage)
    known = hashlib.sha256()
    for path in source_files(f"{stages.__name__}.{stage}"):
        known.update(path.relative_to(_root_of(path)).as_posix().encode())
        known.update(path.read_bytes())
    return known.hexdigest()[:16]


def source_files(module: str) -> list[Path]:
    """Return the files of this package that a module imports, directly or not, and its own.

    Imports inside functions count, those for type checkers alone do not. Further what counts is the
    packages that modules are in, which Python imports too; all modules of a package from which one
    is imported by name, ``import_module(f"l2o.report.sections.{name}")``; and what is no Python in
    the folder of a module: templates, styles.
    """
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or (path := _find(name)) is None:
            continue
        seen.add(name)
        waiting += [".".join(name.split(".")[:n]) for n in range(1, name.count(".") + 1)]
        waiting += _imported(path)
    files = {path for name in seen if (path := _find(name)) is not None}
    beside = (other for path in files for other in _data_files(path.parent))
    return sorted(files.union(beside))


@functools.cache
def _find(module: str) -> Path | None:
    """Return the file of a module of this package, None if there is none."""
    head, _, name = module.rpartition(".")
    # Stages may also be where somebody put them: the folders of that package are those it has.
    folders = stages.__path__ if head == stages.__name__ else [_ROOT / head.replace(".", "/")]
    for folder in map(Path, folders):
        for path in (folder / f"{name}.py", folder / name / "__init__.py"):
            if path.is_file():
                return path
    return None


def _root_of(path: Path) -> Path:
    return _ROOT if path.is_relative_to(_ROOT) else path.parent


@functools.cache
def _data_files(folder: Path) -> tuple[Path, ...]:
    return tuple(p for p in folder.glob("*.*") if p.is_file() and p.suffix not in (".py", ".pyc"))


@functools.cache
def _imported(path: Path) -> tuple[str, ...]:
    """Return the names that a file imports from this package: modules, or what is in them."""
    return tuple(_imports(ast.parse(path.read_bytes())))


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if _is_ours(alias.name))
    elif isinstance(node, ast.ImportFrom) and node.module and _is_ours(node.module):
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and (package := _package_imported_from(node)):
        yield from _modules_of(package)
    elif isinstance(node, ast.If) and _is_for_type_checkers(node.test):
        for other in node.orelse:
            yield from _imports(other)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _imports(child)


def _package_imported_from(call: ast.Call) -> str:
    """Return from which package of ours ``import_module`` takes a module, or ``""``."""
    named = getattr(call.func, "attr", getattr(call.func, "id", "")) == "import_module"
    text = call.args[0].values[0] if named and isinstance(call.args[0], ast.JoinedStr) else None
    begin = text.value if isinstance(text, ast.Constant) else ""
    return begin.rpartition(".")[0] if _is_ours(begin) else ""


def _modules_of(package: str) -> Iterator[str]:
    folder = (_find(package) or Path()).parent
    for path in folder.iterdir():
        if path.suffix == ".py" or (path / "__init__.py").is_file():
            yield f"{package}.{path.stem}"


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == _PACKAGE


def _is_for_type_checkers(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"
