"""asgd: train PyTorch models by asynchronous SGD with sharded parameter servers.

Importing this package is cheap and never imports torch; what it offers is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgd.callbacks import Callback
    from asgd.interactive.call import replay, run, simulate
    from asgd.interactive.run import Run
    from asgd.session import connect
    from asgd.task import Task

__version__ = "0.1.0"
__all__ = ["Callback", "Run", "Task", "connect", "replay", "run", "simulate"]
_HOME = {
    "Callback": "asgd.callbacks",
    "Run": "asgd.interactive.run",
    "Task": "asgd.task",
    "connect": "asgd.session",
    "replay": "asgd.interactive.call",
    "run": "asgd.interactive.call",
    "simulate": "asgd.interactive.call",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'asgd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
