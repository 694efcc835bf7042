"""What a stage says about itself, once: ``l2o/stages/<word>.py`` holds one of these each.

From it follow the command ``l2o <word>``, the inputs of the rule of the same name, the digest that
decides whether a job of it runs again, the stand-ins of the tests and the fault drill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from l2o.jobs import RECORD

if TYPE_CHECKING:
    from argparse import Namespace
    from types import ModuleType

    from l2o.config.models import Config
    from l2o.jobs.programs import Lowered
    from l2o.pipeline.work import Work


class Option(NamedTuple):
    """An option of a stage's command, beside ``--config``, ``--state`` and ``--out``.

    Attributes:
        flag: ``--task``.
        help: What it is, for people.
        names_job: Whether it is a part of the job's name; the settings depend on it, and the
            wildcard of its rule is called the same.
        earlier: Where the workflow has what an earlier stage left, below the results of a scale.
        keywords: More arguments of ``argparse``'s ``add_argument``.
    """

    flag: str
    help: str
    names_job: bool = False
    earlier: str | None = None
    keywords: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """Its name in Python, and as a wildcard."""
        return self.flag.removeprefix("--").replace("-", "_")


def name_option(flag: str, text: str, **keywords: Any) -> Option:
    """Return an option that is part of a job's name, required unless ``keywords`` say so."""
    return Option(flag, text, names_job=True, keywords={"required": True} | keywords)


def folder_option(flag: str, earlier: str, text: str) -> Option:
    """Return a required option that names a folder with results of an earlier stage."""
    return Option(flag, text, earlier=earlier, keywords={"required": True})


class Job(NamedTuple):
    """A job of a stage: its name in parts, ``(("task", "catch"),)``."""

    stage: str
    parts: tuple[tuple[str, str], ...] = ()

    @property
    def named(self) -> dict[str, str]:
        """The parts by name."""
        return dict(self.parts)


def job(stage: str, **parts: object) -> Job:
    """Return a job; parts that are None are left out."""
    given = {name: str(value) for name, value in parts.items() if value is not None}
    return Job(stage, tuple(sorted(given.items())))


class Input(NamedTuple):
    """What a job reads: files of another job, its record among them, or files from elsewhere."""

    job: Job | None
    files: tuple[str, ...] = ()


def _nothing(*_: object, **__: object) -> Iterable[Any]:
    return ()


class Stage(NamedTuple):
    """A step of the workflow: one word on the command line, one rule, one file.

    Attributes:
        help: What it does, for people, as a phrase.
        settings: Called with the configuration and the parts of a job's name; returns all that the
            job depends on. Its digest decides about reruns, and ``run`` gets nothing else.
        run: Called with the settings and, by name, ``out`` and the options that are not in the
            job's name; imports what it needs. Returns an exit code, or None.
        folder: Of a job's results, below those of a scale: a pattern, or a function of the parts.
        outputs: Files in it, beside ``run.json``: names, or a function of the configuration and
            the parts.
        jobs: Called with the configuration; returns every job that the workflow can run. By default
            there is one, whose name has no parts.
        inputs: Called with the configuration and the parts; returns what the job reads.
        options: Of the command.
        out: File in the folder that ``--out`` names, where it does not name the folder.
        out_help: What ``--out`` is, for people.
        is_out_required: Whether the command needs ``--out``.
        has_record: Whether a job leaves a record.
        resumes: Whether a killed job goes on from ``--state``. ``run`` then gets ``state``, and
            ``code``: the version of the stage's code, as nothing may go on from that of another.
        state: Where the workflow has that, below the states of a scale: a function of the parts;
            by default the folder of the results.
        is_deterministic: Whether it must have the same bits on an accelerator after a kill.
        config_help: What the option ``--config`` is, for people; None for no such option.
        read: Returns the settings from the parsed command where they are not those of a job in
            ``--config``, else None. Also gets :mod:`l2o.config.files`: what reads and checks
            configurations is no part of a stage's code.
        leading: Words of the workflow's command that come before its options.
        work: Called with the configuration and the parts; returns how much a job does. Without it
            a job takes as long at any budget.
        programs: Called as ``run`` is; yields what the job compiles.
    """

    help: str
    settings: Callable[..., Any]
    run: Callable[..., int | None]
    folder: str | Callable[..., str]
    outputs: tuple[str, ...] | Callable[..., Iterable[str]] = ()
    jobs: Callable[[Config], Iterable[Job]] | None = None
    inputs: Callable[..., Iterable[Input]] = _nothing
    options: tuple[Option, ...] = ()
    out: str = ""
    out_help: str = "folder of the results"
    is_out_required: bool = True
    has_record: bool = True
    resumes: bool = False
    state: Callable[..., str] | None = None
    is_deterministic: bool = False
    config_help: str | None = (
        "resolved configuration, results/<scale>/config.json (`l2o config` makes one)"
    )
    read: Callable[[Namespace, ModuleType], Any] | None = None
    leading: tuple[str, ...] = ()
    work: Callable[..., Work] | None = None
    programs: Callable[..., Iterable[Lowered]] | None = None

    def folder_of(self, job: Job) -> str:
        """Return where a job's results go, below those of its scale."""
        if isinstance(self.folder, str):
            return self.folder.format(**job.named)
        return self.folder(**job.named)

    def state_of(self, job: Job) -> str:
        """Return where a killed job goes on from, below the states of its scale."""
        return self.folder_of(job) if self.state is None else self.state(**job.named)

    def files_of(self, config: Config, job: Job) -> list[str]:
        """Return what a job makes, below the results of its scale."""
        names = self.outputs(config, **job.named) if callable(self.outputs) else self.outputs
        return self.places_of(job, names)

    def places_of(self, job: Job, names: Iterable[str]) -> list[str]:
        """Return where a job has its record and other files, below the results of its scale."""
        record = (RECORD,) if self.has_record else ()
        folder = self.folder_of(job)
        return ["/".join(filter(None, (folder, name))) for name in (*record, *names)]


def plain_settings(value: Any) -> Any:
    """Return settings as values of JSON."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {name: plain_settings(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_settings(item) for item in value]
    return value
