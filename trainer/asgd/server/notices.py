"""What a person should know of (given up, refused, changed): bounded; numbers go on, so that each is told once."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from asgd.spec.status import Notice

MOST = 16
About = Literal["worker", "evaluator", "pushes", "evaluation", "data", "checkpoint", "rollback"]


class Notices(Struct):
    """The newest `MOST` notices; part of what a checkpoint keeps."""

    newest: list[Notice] = []

    def add(self, text: str, about: About = "worker") -> None:
        """One more; the oldest goes."""
        number = self.newest[-1].number + 1 if self.newest else 1
        self.newest = [*self.newest, Notice(number, text, about)][-MOST:]
