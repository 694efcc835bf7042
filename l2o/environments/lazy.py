"""Postpone what gymnax imports for plotting until somebody plots."""

import importlib
import sys
import types
from typing import Any


class _Postponed(types.ModuleType):
    """Stands in for a module and imports it when one of its public attributes is first read.

    ``importlib.util.LazyLoader`` would import it on reading ``__file__`` too, which
    ``inspect.getmodule`` does to every module there is.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def postpone(*names: str) -> None:
    """Put stand-ins for modules into ``sys.modules``.

    Importing gymnax imports seaborn and pyplot for rendering: half of the start of every job.

    Args:
        *names: Modules; those already imported are left alone.
    """
    for name in names:
        if name not in sys.modules:
            sys.modules[name] = _Postponed(name)
