"""What is wrong with a job, as one line each: the place in the user's file, the field, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asgd.errors import UserError

Path = tuple[str | int, ...]
"""Steps from the root of a document: keys of mappings and indices of lists."""


def dotted(path: Path) -> str:
    """`spec.optimizer.betas[1]`, as the API server writes it."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


@dataclass(frozen=True)
class Problem:
    """One problem: `place` is `FILE:LINE`, `--set` or empty for a document without a file."""

    path: Path
    text: str
    place: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, [self.place, dotted(self.path), self.text]))


class JobError(UserError):
    """A job that must not run. `str()` is one line a problem, all at once, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))
