"""How numbers and names are written in the report."""

import math
from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"

_NAMES = {
    "champion": "champion",
    "untrained": "untrained initialisation",
    "adam": "Adam",
    "adam_decay": "decayed Adam",
    "rmsprop": "RMSProp",
    "sign": "sign descent",
    "random": "random policy",
}


def optimizer_rank(label: str) -> int:
    """Return the place of an optimizer where several are listed; unknown ones come last."""
    return list(_NAMES).index(label) if label in _NAMES else len(_NAMES)


def optimizer_name(label: str) -> str:
    """Return what the report calls an optimizer."""
    return _NAMES.get(label, label)


def short_name(label: str) -> str:
    """Return what figures call an optimizer."""
    return optimizer_name(label).removesuffix(" initialisation")


def number(value: float | None, signed: bool = False, decimals: int | None = None) -> str:
    """Write a number with two or three significant digits; a dash if it is not finite.

    Args:
        value: The number.
        signed: Write a plus sign, too.
        decimals: How many, if not as the number's own size asks for.
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    size = abs(value)
    text = f"{size:,.{_decimals(size) if decimals is None else decimals}f}"
    if not text.strip("0.,"):
        return text
    if value < 0:
        return MINUS + text
    return "+" + text if signed else text


def _decimals(size: float) -> int:
    """Return how many decimals show two or three significant digits, four at most."""
    if size == 0 or 0.1 <= size < 100:
        return 2
    if size >= 100:
        return 1 if size < 1000 else 0
    return 3 if size >= 0.01 else 4


def interval(low: float, high: float, signed: bool = False, decimals: int | None = None) -> str:
    """Write an interval; a dash if there is none. See :func:`number`."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return NOTHING
    if decimals is None:
        decimals = _decimals(max(abs(low), abs(high)))
    ends = (number(end, signed, decimals) for end in (low, high))
    # Not broken between lines.
    return "[" + ",\N{NO-BREAK SPACE}".join(ends) + "]"


def rate(value: float) -> str:
    """Write a learning rate."""
    return f"{value:g}"


def count(amount: int, noun: str) -> str:
    """Write an amount with its noun: ``1 seed``, ``1,000 seeds``."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{amount:,} {noun if amount == 1 else plural}"


def listing(items: Sequence[str]) -> str:
    """Join items as prose: ``a, b and c``."""
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def duration(seconds: float) -> str:
    """Write a duration for people: ``12.3 s``, ``4 min 05 s``, ``2 h 10 min``."""
    if not math.isfinite(seconds):
        return NOTHING
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def memory(size: float | None) -> str:
    """Write an amount of memory in GiB."""
    return NOTHING if size is None else f"{size / 2**30:.2f} GiB"
