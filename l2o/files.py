"""Files that appear under their final name only when complete, and checked reading."""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2o.errors import ResultsError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

AGAIN = "delete it and run again"
"""What to do about a damaged file that no other file stands for."""
_DIGEST, _BLANK = "l2o.sha256", "0" * 64
# In the footer of a parquet file: the key, two bytes that begin the value, the value.
_SEAL = re.compile(rb"l2o\.sha256..([0-9a-f]{64})", re.DOTALL)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and rename it into place on success.

    Args:
        path: The final name; missing parent folders are created.

    Yields:
        The path to write to, a file or a folder. If the block raises, what is there is removed and
        ``path`` is untouched.

    Raises:
        OSError: It cannot be written; the error names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if error.filename in (None, str(partial)):  # of a full disk the system names no file
            error.filename = str(path)
        raise
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def copy_folder(source: str | Path, target: str | Path) -> None:
    """Copy a folder of files; ``target`` appears when complete, in place of what was there."""
    with atomic_path(target) as partial:
        for path in sorted(Path(source).rglob("*")):
            if path.is_file():
                copy = partial / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
        shutil.rmtree(target, ignore_errors=True)


def copy_file(source: str | Path, target: str | Path) -> None:
    """Copy a file atomically."""
    with atomic_path(target) as partial:
        shutil.copyfile(source, partial)


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
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: not valid JSON ({error}); {AGAIN}.") from None


def plain_array(array: Any) -> "np.ndarray":
    """Return an array as files want it: in C order, contiguous, with the processor's byte order.

    safetensors writes the memory that an array has, whatever its order, strides and bytes.

    Args:
        array: NumPy's, or what it can make one of: JAX's, on one device or several of this process.
    """
    import numpy as np

    array = np.asarray(array)
    # Not ascontiguousarray, which gives a number an axis.
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def write_arrays(path: str | Path, arrays: Mapping[str, Any], header: Mapping[str, str]) -> None:
    """Write named arrays and texts as safetensors, atomically; equal content is equal bytes."""
    from safetensors.numpy import save

    plain = {name: plain_array(array) for name, array in arrays.items()}
    data = save(plain, metadata=dict(header))
    end = 8 + int.from_bytes(data[:8], "little")
    described = json.loads(data[8:end])
    # safetensors has its metadata in random order.
    described["__metadata__"] = dict(sorted(described["__metadata__"].items()))
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as partial:
        partial.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])


def write_table(path: str | Path, table: "pd.DataFrame") -> None:
    """Write a table as parquet, atomically, without its index, with a digest of the whole file."""
    import pyarrow
    from pyarrow import parquet

    rows = pyarrow.Table.from_pandas(table, preserve_index=False)
    buffer = io.BytesIO()
    with parquet.ParquetWriter(buffer, rows.schema) as writer:
        writer.write_table(rows)
        # Parquet's own checksums leave out the footer, where the columns have their names.
        writer.add_key_value_metadata({_DIGEST: _BLANK})
    data = buffer.getvalue()
    with atomic_path(path) as partial:
        partial.write_bytes(_with_digest(data, hashlib.sha256(data).hexdigest()))


def read_table(path: str | Path, columns: Iterable[str] = ()) -> "pd.DataFrame":
    """Read a parquet table and check that it has the columns that the caller needs.

    A table without a digest, written by other means, is only checked for being complete.

    Raises:
        ResultsError: The file is missing, truncated, has changed since it was written, or lacks a
            column.
    """
    import pandas as pd
    import pyarrow

    path = Path(path)
    # A workflow asks whether a job has its record, not whether it has all of its tables.
    again = "delete it and the run.json beside it, and run again"
    try:
        data = path.read_bytes()
        if not _is_intact(data):
            raise ResultsError(f"{path}: damaged: changed since it was written; {again}.")
        table = pd.read_parquet(io.BytesIO(data))
    except FileNotFoundError:
        raise ResultsError(f"{path}: no such file.") from None
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{path}: not a complete parquet file ({error}); {again}.") from None
    missing = sorted(set(columns) - set(table.columns))
    if missing:
        raise ResultsError(
            f"{path}: lacks the column(s) {', '.join(missing)}: it was written by another version; "
            f"{again}."
        )
    return table


def _with_digest(data: bytes, digest: str) -> bytes:
    """Set the digest in a parquet file's footer, the last one if a cell looks like it."""
    start, end = list(_SEAL.finditer(data))[-1].span(1)
    return data[:start] + digest.encode() + data[end:]


def _is_intact(data: bytes) -> bool:
    """Whether a parquet file is as it was written, or holds no digest that could tell."""
    found = list(_SEAL.finditer(data))
    if not found:
        return True
    blank = _with_digest(data, _BLANK)
    return hashlib.sha256(blank).hexdigest().encode() == found[-1][1]


def sha256(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 digest of a file.

    Raises:
        ResultsError: There is no such file.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise ResultsError(f"{path}: no such file.") from None
