"""What the result of a job depends on, for the workflow to know when to run it again.

Snakemake's own triggers follow neither an imported package nor the parts of one configuration
file, nor what became of the results of a job that failed. Each rule therefore has a parameter from
here. Imports no jax.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2o import stages
from l2o.pipeline.contract import Job, plain_settings
from l2o.workflow.registry import get_stage
from l2o.workflow.sources import relative_name, source_files

if TYPE_CHECKING:
    from l2o.config.models import Config


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
            modules = sorted({found.__module__ for found in _classes_in(settings)})
            code = [code_version(job.stage), _digest_of(*modules)]
            self._own[job] = [job.stage, digest(settings), *code]
        return self._own[job]

    def _all_before(self, job: Job) -> frozenset[Job]:
        if job not in self._ancestors:
            needed = get_stage(job.stage).inputs(self._config, **job.named)
            direct = frozenset(item.job for item in needed if item.job is not None)
            self._ancestors[job] = direct.union(*(self._all_before(other) for other in direct))
        return self._ancestors[job]


def digest(value: object) -> str:
    """Return a digest of settings; the order of what is named counts, the first may be special."""
    return hashlib.sha256(json.dumps(plain_settings(value)).encode()).hexdigest()[:16]


@functools.cache
def code_version(stage: str) -> str:
    """Return a digest of the source files that a stage's result depends on, read once.

    Raises:
        L2OError: There is no such stage.
    """
    get_stage(stage)
    return _digest_of(f"{stages.__name__}.{stage}")


@functools.cache
def _digest_of(*modules: str) -> str:
    known = hashlib.sha256()
    for path in source_files(*modules):
        known.update(relative_name(path).encode())
        known.update(_content(path))
    return known.hexdigest()[:16]


@functools.cache
def _content(path: Path) -> bytes:
    return path.read_bytes()


def _classes_in(value: Any) -> Iterator[type]:
    """Yield the classes of this package that settings are made of: their methods are code, too."""
    if type(value).__module__.startswith("l2o."):
        yield type(value)
    if hasattr(value, "model_fields_set"):
        value = dict(value)
    parts = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, Mapping | list | tuple):
        for part in parts:
            yield from _classes_in(part)
