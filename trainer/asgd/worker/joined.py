"""The connection by which a user's script has joined its job: set by `asgd.connect()`, read by who runs the script."""

from __future__ import annotations

from typing import Protocol


class Joined(Protocol):
    """What who runs the script does with its connection."""

    @property
    def exit_code(self) -> int:
        """What the worker process ends with."""

    def fail(self, error: BaseException) -> bool:
        """The script has raised."""

    def close(self, *, failed: bool = False) -> None:
        """Leaves the job, once; `failed`: the script has ended with an error."""


connection: Joined | None = None
"""This process's; a worker has one model."""
