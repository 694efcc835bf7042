"""Keeps secrets out of what is printed and written: credentials in addresses, secret variables."""

import os
import re
import sys
import traceback
from types import TracebackType

# What comes before the last @ of an address. A password may hold a slash, though it should not.
_CREDENTIALS = re.compile(r"//(?:[^/\s]*|[^/\s:]*:[^\s@]*)@")
_QUERY = re.compile(r"([?&](?:password|passwd|pwd|token|secret|api_key)=)[^&\s'\"]+", re.I)
_SECRET_NAME = re.compile(r"PASSW|SECRET|TOKEN|CREDENTIAL|(API|ACCESS|PRIVATE)_?KEY", re.I)
_SHORTEST = 6  # characters: a variable such as USE_TOKEN=1 holds no secret


def redact(text: str) -> str:
    """Return a text without credentials in addresses and without values of secret variables.

    Args:
        text: For example a message. Variables of the environment are secret by their name.
    """
    text = _QUERY.sub(r"\1***", _CREDENTIALS.sub("//", text))
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and _SECRET_NAME.search(name):
            text = text.replace(value, "***")
    return text


def redact_tracebacks() -> None:
    """Redact what Python prints about an error that nothing catches."""
    sys.excepthook = _print_redacted


def _print_redacted(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    print(redact(text), end="", file=sys.stderr)
