"""asgd: train PyTorch models by asynchronous SGD with sharded parameter servers.

Importing this package is cheap and never imports torch; `Task`, `Callback` and `connect` are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgd.callbacks import Callback
    from asgd.session import connect
    from asgd.task import Task

__version__ = "0.1.0"
__all__ = ["Callback", "Task", "connect"]


def __getattr__(name: str) -> Any:
    if name == "Task":
        from asgd.task import Task

        return Task
    if name == "Callback":
        from asgd.callbacks import Callback

        return Callback
    if name == "connect":
        from asgd.session import connect

        return connect
    raise AttributeError(f"module 'asgd' has no attribute {name!r}")
