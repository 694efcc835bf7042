"""A stage called as the command line calls it, with a configuration that is not in a file."""

from typing import Any

from l2o.config.models import Config
from l2o.workflow.registry import get_stage


def run_stage(name: str, config: Config, **arguments: Any) -> int | None:
    """Run a job; ``arguments`` are the parts of its name, ``out`` and the other options."""
    stage = get_stage(name)
    parts = {option.name for option in stage.options if option.names_job}
    named = {key: arguments.pop(key) for key in list(arguments) if key in parts}
    code = {"code": "the same"} if stage.resumes else {}
    return stage.run(stage.settings(config, **named), **arguments, **code)
