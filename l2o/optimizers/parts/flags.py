"""JAX's global settings: what an optimizer computes does not depend on them.

Users set 64 bits, strict promotion or a matrix precision for their own code. An optimizer's
arithmetic is float32 and broadcasts on purpose, so it runs under JAX's defaults, also where its
derivatives are taken later, outside of ``update``.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax

_DEFAULTS: dict[str, tuple[Callable[[Any], Any], Any, Any]] = {
    # The name in jax.config: its context manager, JAX's default, and what stands for that. Not to
    # name a precision means the process's, also later, in derivatives.
    "jax_enable_x64": (jax.enable_x64, False, False),
    "jax_numpy_dtype_promotion": (jax.numpy_dtype_promotion, "standard", "standard"),
    "jax_numpy_rank_promotion": (jax.numpy_rank_promotion, "allow", "allow"),
    "jax_default_matmul_precision": (jax.default_matmul_precision, None, "default"),
}


class _Local(threading.local):
    """What the user had set, innermost last."""

    def __init__(self) -> None:
        self.users: list[dict[str, Any]] = []


_local = _Local()


def _current() -> dict[str, Any]:
    return {name: getattr(jax.config, name) for name in _DEFAULTS}


@contextlib.contextmanager
def _under(wanted: dict[str, Any]) -> Iterator[None]:
    """Set what differs: under JAX's defaults nothing is touched, nor compiled anew."""
    now = _current()
    with contextlib.ExitStack() as stack:
        for name, (enter, _, _) in _DEFAULTS.items():
            if now[name] != wanted[name]:
                stack.enter_context(enter(wanted[name]))
        yield


@contextlib.contextmanager
def defaults() -> Iterator[None]:
    """Compute under JAX's defaults."""
    users = _current()
    wanted = {
        name: users[name] if users[name] == default else stand_in
        for name, (_, default, stand_in) in _DEFAULTS.items()
    }
    _local.users.append(users)
    try:
        with _under(wanted):
            yield
    finally:
        _local.users.pop()


@contextlib.contextmanager
def users() -> Iterator[None]:
    """Compute under what the user had set when :func:`defaults` began: for a user's function."""
    with _under(_local.users[-1] if _local.users else _current()):
        yield


def under_defaults(function: Callable) -> Callable:
    """Return a function that runs under JAX's defaults."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with defaults():
            return function(*args, **kwargs)

    return wrapped
