"""Errors that a user can act on: the command line prints them in one line and exits with 2."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from l2o.redaction import redact

Value = TypeVar("Value")


class L2OError(Exception):
    """A problem with the input: the message says what, where, and what is allowed."""

    def __str__(self) -> str:
        """Return the message in one line: names from outside may hold any character."""
        message = redact(super().__str__())
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)


class ConfigError(L2OError):
    """The configuration is invalid."""


class CheckpointError(L2OError):
    """A checkpoint or weight file is missing, damaged, or of an unsafe kind."""


class ResultsError(L2OError):
    """A results file is missing, truncated, or lacks a column."""


class BusyError(L2OError):
    """Another process is at work in a folder."""


class OutOfMemoryError(L2OError):
    """What was asked for does not fit memory; the message says what to lower, and to what."""


class MissingInputError(L2OError, ValueError):
    """An optimizer's update lacks an input; also a ValueError, as optax raises for parameters."""


class LeafError(L2OError, TypeError):
    """A leaf of gradients or parameters is of a type that cannot be trained; also a TypeError."""


def unknown_name(
    kind: str, name: str, allowed: Iterable[str], reasons: Mapping[str, str] | None = None
) -> L2OError:
    """Build the error for a name that is not registered, with the nearest valid one.

    Args:
        kind: What the name should have been, for example ``"task"``.
        name: The name that was given.
        allowed: The valid names.
        reasons: Of names that somebody may look for: why they are not valid.

    Returns:
        The error, to be raised by the caller.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    if reasons and name in reasons:
        return L2OError(f"{kind} '{name}' {reasons[name]}. Known: {', '.join(names)}.")
    return L2OError(f"unknown {kind} '{name}'.{hint} Known: {', '.join(names)}.")


def unusable(what: str, name: str, where: str, allowed: Iterable[str]) -> L2OError:
    """Build the error for two names that are known, but do not go together.

    Args:
        what: What the first name is, for example ``"backend"``.
        name: The name.
        where: What cannot use it, for example ``"task 'ant'"``.
        allowed: What it can use.
    """
    return ConfigError(f"{where} cannot use {what} '{name}', only {', '.join(allowed)}.")


def look_up(
    kind: str,
    name: str,
    known: Mapping[str, Value],
    reasons: Mapping[str, str] | None = None,
) -> Value:
    """Return what has a name.

    Args:
        kind: What the name should be, see :func:`unknown_name`.
        name: The name.
        known: By name.
        reasons: Of names that somebody may look for: why there is nothing.

    Raises:
        L2OError: There is nothing of that name; the message gives the nearest valid one.
    """
    if name not in known:
        raise unknown_name(kind, name, known, reasons)
    return known[name]
