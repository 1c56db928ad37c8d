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


_MOST_SAID = 30
_LONGEST = 1000
"""Characters of a line; a value of the user's may be in it."""


class JobError(UserError):
    """A job that must not run. `str()` is one line a problem, in the order of the file, the first ones of very many."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        said = [_cut(str(problem)) for problem in self.problems[:_MOST_SAID]]
        if (more := len(self.problems) - _MOST_SAID) > 0:
            said.append(f"and {more:,} problems more")
        super().__init__("\n".join(said))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ... ({len(text):,} characters)"
