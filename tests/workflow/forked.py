"""Snakemake's command line, forked from a process that has imported it, which takes longest."""

import multiprocessing
import os
import sys
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["snakemake.cli", "snakemake.utils", "pandas", "l2o.config.files"])


def snakemake(
    arguments: list[str], folder: Path, environment: dict[str, str], logs: Path, timeout: float
) -> CompletedProcess:
    """Run `snakemake` in a folder; what it says goes through ``<logs>.out`` and ``<logs>.err``."""
    texts = [logs.with_suffix(suffix) for suffix in (".out", ".err")]
    command = ["snakemake", *arguments]
    process = CONTEXT.Process(target=_become, args=(command, folder, environment, texts))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutExpired(command, timeout, *(path.read_text() for path in texts))
    return CompletedProcess(command, process.exitcode, *(path.read_text() for path in texts))


def _become(
    command: list[str], folder: Path, environment: dict[str, str], texts: list[Path]
) -> None:
    from snakemake.cli import main

    for stream, path in enumerate(texts, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command
    main()
