"""Files that appear under their final name only when complete, and checked reading."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2o.errors import ResultsError

if TYPE_CHECKING:
    import pandas as pd


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and rename it into place on success.

    Args:
        path: The final name; missing parent folders are created.

    Yields:
        The path to write to. If the block raises, that file is removed and ``path`` is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically (UTF-8)."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file atomically, indented and with sorted keys."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        ResultsError: The file is missing or is not valid JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(f"{path}: no such file.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ResultsError(f"{path}: not valid JSON ({error}); delete it and run again.") from None


def write_table(path: str | Path, table: "pd.DataFrame") -> None:
    """Write a table as parquet, atomically and without its index."""
    with atomic_path(path) as partial:
        table.to_parquet(partial, index=False)


def read_table(path: str | Path, columns: Iterable[str] = ()) -> "pd.DataFrame":
    """Read a parquet table and check that it has the columns that the caller needs.

    Raises:
        ResultsError: The file is missing, truncated, or lacks a column.
    """
    import pandas as pd
    import pyarrow

    try:
        table = pd.read_parquet(path)
    except FileNotFoundError:
        raise ResultsError(f"{path}: no such file.") from None
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ResultsError(
            f"{path}: not a complete parquet file ({error}); delete it and run again."
        ) from None
    missing = sorted(set(columns) - set(table.columns))
    if missing:
        raise ResultsError(f"{path}: lacks the column(s) {', '.join(missing)}.")
    return table


def sha256(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
