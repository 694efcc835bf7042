"""Which files of this package a module depends on: those that it imports. Imports no jax."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from l2o import stages

_ROOT = Path(__file__).parents[2]
_PACKAGE = "l2o"
_DATA = (".j2", ".css")
# Where statements have other statements, of whatever kind they are.
_ELSE = ("orelse",)
_BLOCKS = ("body", *_ELSE, "handlers", "finalbody", "cases")


def source_files(*modules: str) -> list[Path]:
    """Return the files of this package that modules import, directly or not, and their own.

    Imports inside functions count, those for type checkers alone do not. Further what counts is the
    packages that modules are in, which Python imports too; all modules of a package from which one
    is imported by name, ``import_module(f"l2o.report.sections.{name}")``; and templates and styles
    in the folder of a module.
    """
    seen: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in seen or (path := find_module(name)) is None:
            continue
        seen[name] = path
        waiting += [".".join(name.split(".")[:n]) for n in range(1, name.count(".") + 1)]
        waiting += _imported(name, path)
    files = set(seen.values())
    return sorted(files.union(*(_data_files(path.parent) for path in files)))


def relative_name(path: Path) -> str:
    """Return a file's path below the folder of the package; elsewhere its name."""
    return path.relative_to(_ROOT).as_posix() if path.is_relative_to(_ROOT) else path.name


@functools.cache
def find_module(module: str) -> Path | None:
    """Return the file of a module of this package, None if there is none."""
    head, _, name = module.rpartition(".")
    # Stages may also be where somebody put them: the folders of that package are those it has.
    folders = stages.__path__ if head == stages.__name__ else [_ROOT / head.replace(".", "/")]
    for folder in map(Path, folders):
        for path in (folder / f"{name}.py", folder / name / "__init__.py"):
            if path.is_file():
                return path
    return None


@functools.cache
def _data_files(folder: Path) -> tuple[Path, ...]:
    return tuple(path for path in folder.iterdir() if path.suffix in _DATA)


@functools.cache
def _imported(module: str, path: Path) -> tuple[str, ...]:
    """Return the names that a module imports from this package: modules, or what is in them."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    text = path.read_bytes()
    tree = ast.parse(text)
    found = list(_imports(tree, package))
    if b"import_module" in text:  # few have it, and looking at every expression takes long
        calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
        by_name = filter(None, map(_package_imported_from, calls))
        found += [name for other in by_name for name in _modules_of(other)]
    return tuple(found)


def _imports(node: ast.AST, package: str) -> Iterator[str]:
    """Yield what the statements in a node import, whatever they are nested in."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if _is_ours(alias.name))
    elif isinstance(node, ast.ImportFrom):
        origin = _origin(node, package)
        if _is_ours(origin):
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)
    else:
        for_type_checkers = isinstance(node, ast.If) and _is_for_type_checkers(node.test)
        for field in _ELSE if for_type_checkers else _BLOCKS:
            for child in getattr(node, field, ()):
                yield from _imports(child, package)


def _origin(node: ast.ImportFrom, package: str) -> str:
    """Return the full name of what is imported from, also where the import is relative."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def _package_imported_from(call: ast.Call) -> str:
    """Return from which package of ours ``import_module`` takes a module, or ``""``."""
    named = getattr(call.func, "attr", getattr(call.func, "id", "")) == "import_module"
    text = call.args[0].values[0] if named and isinstance(call.args[0], ast.JoinedStr) else None
    begin = text.value if isinstance(text, ast.Constant) else ""
    return begin.rpartition(".")[0] if _is_ours(begin) else ""


def _modules_of(package: str) -> Iterator[str]:
    folder = (find_module(package) or Path()).parent
    for path in folder.iterdir():
        if path.suffix == ".py" or (path / "__init__.py").is_file():
            yield f"{package}.{path.stem}"


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == _PACKAGE


def _is_for_type_checkers(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"
