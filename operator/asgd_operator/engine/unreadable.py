"""An object of a watch that could not be read: it stands in the index in place of what it would have said.

kopf runs no index handler again for an object on which it failed once, until the object is deleted. And a job whose
pod or Job is left out of the picture would be planned for as if that were gone. So no handler fails, and whoever
looks at the job that the object belongs to is told.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unreadable:
    """`says`: which object, and what came of reading it."""

    says: str
    uid: str = ""
    """Of the object itself."""


class UnreadableObject(Exception):
    """A job cannot be looked at, because one of its objects cannot be read. A bug of the operator."""

    def __init__(self, found: Unreadable) -> None:
        super().__init__(found.says)
        self.found = found
