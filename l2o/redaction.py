"""Keeps secrets out of what is printed and written: credentials in addresses, secret variables."""

import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from types import TracebackType
from urllib.parse import unquote

# What comes before the last @ of an address. A password may hold a slash, though it should not.
_CREDENTIALS = re.compile(r"(?<!/)//(?:[^/\s]*|[^/\s:]*:\S*)@")
# The same where the text is one address, so that a password may hold anything.
_WITH_PASSWORD = re.compile(r"([\w+.-]+://)[^/:@]*:(.*)@", re.DOTALL)
_QUERY = re.compile(r"([?&](?:password|passwd|pwd|token|secret|api_key)=)[^&\s'\"]+", re.I)
_SECRET_NAME = re.compile(r"PASSW|SECRET|TOKEN|CREDENTIAL|(API|ACCESS|PRIVATE)_?KEY", re.I)
_ADDRESS_NAMES = ("_URI", "_URL", "_DSN", "_PROXY")
_SEPARATORS = re.compile(r"[@:/?#\[\]\s]")
_SHORTEST_KNOWN = 4
_SHORTEST = 6  # characters: a variable such as USE_TOKEN=1 holds no secret


def redact(text: str, *addresses: str) -> str:
    """Return a text without credentials in addresses and without values of secret variables.

    Args:
        text: For example a message. Variables of the environment are secret by their name.
        addresses: Whose passwords are secret, too, wherever they are, whole or in part: who reads
            an address with a strange character in the password takes the rest for something else.
    """
    text = _QUERY.sub(r"\1***", _CREDENTIALS.sub("//", text))
    for secret in sorted(_secrets(addresses), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def redact_address(address: str) -> str:
    """Return an address without credentials, and else as it is, so that it still leads there."""
    return _QUERY.sub(r"\1***", _CREDENTIALS.sub("//", _WITH_PASSWORD.sub(r"\1", address)))


def _secrets(addresses: Iterable[str]) -> Iterator[str]:
    """Yield secret variables, and passwords of addresses: as written, as meant, and in parts."""
    known = [(address, _SHORTEST_KNOWN) for address in addresses]
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name):
            yield from [value] if len(value) >= _SHORTEST else []
        elif name.upper().endswith(_ADDRESS_NAMES):
            known.append((value, _SHORTEST))
    for address, shortest in known:
        if match := _WITH_PASSWORD.match(address):
            for password in (match[2], unquote(match[2])):
                parts = (password, *_SEPARATORS.split(password))
                yield from (part for part in parts if len(part) >= shortest)


def redact_tracebacks() -> None:
    """Redact what Python prints about an error that nothing catches."""
    sys.excepthook = _print_redacted


def _print_redacted(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    print(redact(text), end="", file=sys.stderr)
