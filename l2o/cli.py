"""The command line, ``l2o <word>``: stages, which workflow rules call, and tools for people."""

import argparse
import functools
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2o import __version__, tools
from l2o.errors import ConfigError, L2OError
from l2o.jobs.environment import prepare
from l2o.jobs.failures import explain
from l2o.jobs.interrupts import EXIT_CODE, Interrupted, end_at_once
from l2o.jobs.streams import READER_GONE, finish_output, is_reader_gone, open_streams
from l2o.pipeline.contract import Job, Option, Stage, job
from l2o.redaction import redact_tracebacks
from l2o.workflow.registry import get_stage, modules_in, stage_names, word_of

if TYPE_CHECKING:
    from l2o.config.models import Config

# How they are listed; others come after them.
_FIRST = (
    *("meta_train", "baselines", "select", "tune", "transfer", "transfer_summary"),
    *("report", "track", "sweep", "score_sweep", "level", "ablate"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Arguments without the program's name; by default the command line's.

    Returns:
        The exit code: 0, 2 after a one-line message about bad input or what the machine lacks, or
        75 when SIGTERM stopped a stage at a checkpoint, from which the same command goes on.
    """
    end_at_once()
    redact_tracebacks()
    open_streams()
    words = sys.argv[1:] if argv is None else argv
    try:
        code = _run(words)
    except BrokenPipeError:
        if not is_reader_gone():
            raise
        code = READER_GONE
    except SystemExit as stop:  # help, or wrong usage, is printed
        raise SystemExit(_finish(int(stop.code or 0), words)) from None
    return _finish(code, words)


def _finish(code: int, words: Sequence[str]) -> int:
    """Print what is left to print; return the exit code, another one if that fails."""
    problem = finish_output()
    if isinstance(problem, BrokenPipeError):
        return READER_GONE
    if problem is not None:
        said = explain(problem, argparse.Namespace()) or f"standard output: {problem}."
        print(f"{' '.join(['l2o', *words[:1]])}: {said}", file=sys.stderr)
    return 2 if problem is not None else code


def _run(words: Sequence[str]) -> int:
    """Run a command; see :func:`main`."""
    args = build_parser(words[0] if words else "").parse_args(words)
    args.words = list(words)
    note = prepare(args.is_deterministic)
    if os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):
        from l2o.tracking.live import follow_jobs

        follow_jobs()
    try:
        code = args.run(args) or 0
    except L2OError as error:
        print(f"l2o {args.word}: {error}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(f"l2o {args.word}: {stop}", file=sys.stderr)
        return EXIT_CODE
    except Exception as error:
        message = None if isinstance(error, BrokenPipeError) else explain(error, args)
        if message is None:
            raise
        print(f"l2o {args.word}: {message}", file=sys.stderr)
        return 2
    if note and "jax" in sys.modules:
        print(f"l2o {args.word}: {note}", file=sys.stderr)
    return code


def build_parser(first: str = "") -> argparse.ArgumentParser:
    """Return the parser of all stages and tools.

    Args:
        first: First word of a command. If it names a stage or a tool, nothing else is imported.
    """
    parser = argparse.ArgumentParser(
        prog="l2o",
        description="Meta-train optimizers for reinforcement learning, select them, evaluate them.",
        epilog="`snakemake --cores all` runs all stages in order; each also runs alone.",
    )
    parser.add_argument("--version", action="version", version=f"l2o {__version__}")
    words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
    stages, others = sorted(stage_names(), key=_place), modules_in(tools)
    known = {word_of(name): name for name in (*stages, *others)}
    wanted = {known[first]} if first in known else set(known.values())
    for name in filter(wanted.__contains__, stages):
        _add_stage(words, name, get_stage(name))
    for name in filter(wanted.__contains__, others):
        tool = importlib.import_module(f"{tools.__name__}.{name}")
        own = _add_word(words, word_of(name), tool.HELP)
        tool.add_arguments(own)
        own.set_defaults(run=tool.run, is_deterministic=False)
    return parser


def _place(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)


def _add_word(
    words: "argparse._SubParsersAction[argparse.ArgumentParser]", word: str, text: str
) -> argparse.ArgumentParser:
    return words.add_parser(word, help=text, description=f"{text[0].upper()}{text[1:]}.")


def _add_stage(
    words: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, stage: Stage
) -> None:
    """Add the command of a stage, as its contract has it."""
    parser = _add_word(words, word_of(name), stage.help)
    if stage.config_help is not None:
        parser.add_argument(
            "--config", type=Path, required=True, metavar="FILE", help=stage.config_help
        )
        parser.add_argument(
            "--expect",
            metavar="VERSION",
            help="refuse to start unless settings and code have this version",
        )
    for option in stage.options:
        is_folder = {"type": Path} if option.earlier is not None else {}
        parser.add_argument(option.flag, help=option.help, **is_folder, **option.keywords)
    if stage.resumes:
        parser.add_argument(
            "--state",
            type=Path,
            metavar="DIR",
            help="what a killed run resumes from (default OUT/.state)",
        )
    parser.add_argument(
        "--out",
        type=Path,
        required=stage.is_out_required,
        metavar="FILE" if stage.out else "DIR",
        help=stage.out_help,
    )
    run = functools.partial(_run_stage, name, stage)
    parser.set_defaults(run=run, is_deterministic=stage.is_deterministic)


def _run_stage(name: str, stage: Stage, args: argparse.Namespace) -> int | None:
    """Give a stage its own settings, and where its results and those of others are."""
    others = [option for option in stage.options if not option.names_job]
    places: dict[str, Any] = _values(others, args) | {"out": args.out}
    if stage.resumes:
        from l2o.workflow.versions import code_version  # which needs ast and hashlib, slow, too

        places |= {"state": args.state or args.out / ".state", "code": code_version(name)}
    from l2o.config import files  # which needs pydantic, slow to import

    given = None if stage.read is None else stage.read(args, files)
    if given is not None or stage.config_help is None:
        return stage.run(given, **places)
    named = _values([option for option in stage.options if option.names_job], args)
    config, one = files.load(args.config), job(name, **named)
    _check_version(config, one, args)
    if config.trial is not None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # what is only tried is shown nowhere
    if config.trial == "rehearsal":
        from l2o.workflow.rehearse import rehearse_job

        return rehearse_job(config, one, args.words, args.config, places)
    return stage.run(stage.settings(config, **named), **places)


def _check_version(config: "Config", one: Job, args: argparse.Namespace) -> None:
    """Refuse to start a job on anything but what the workflow started it for.

    Raises:
        ConfigError: Its configuration or its code has changed since then.
    """
    if args.expect is None:
        return
    from l2o.workflow.versions import Versions

    if Versions(config).version(one) != args.expect:
        raise ConfigError(
            f"{args.config}: this configuration, or the code, is no longer what the workflow "
            "planned this job with; start the workflow again, without that file if it is stale."
        )


def _values(options: Sequence[Option], args: argparse.Namespace) -> dict[str, Any]:
    return {option.name: getattr(args, option.name) for option in options}


if __name__ == "__main__":
    sys.exit(main())
