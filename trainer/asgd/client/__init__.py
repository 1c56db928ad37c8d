"""`asgd.client`: jobs on a cluster from Python, and the command `kubectl asgd`. Needs a kubeconfig, and no torch.

    run = asgd.client.submit(task, workers=4, epochs=20)   # the arguments of asgd.run
    run.wait(); run.metrics; model = run.model()

What it offers is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgd.client.access import Access, connect_to
    from asgd.client.call import submit
    from asgd.client.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, Unreachable
    from asgd.client.run import Run

__all__ = [
    "Access",
    "ApiError",
    "Conflict",
    "Forbidden",
    "Invalid",
    "NotFound",
    "Run",
    "Unreachable",
    "connect_to",
    "submit",
]
_HOME = {
    **dict.fromkeys(("ApiError", "Conflict", "Forbidden", "Invalid", "NotFound", "Unreachable"), "errors"),
    "Access": "access",
    "Run": "run",
    "connect_to": "access",
    "submit": "call",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"asgd.client.{_HOME[name]}"), name)
    raise AttributeError(f"module 'asgd.client' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
