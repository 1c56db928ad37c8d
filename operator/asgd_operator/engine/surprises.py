"""Surprises: exceptions that nobody foresaw, each logged whole once and in a word afterwards.

A kind of surprise is the exception's type and the line that raised it. A job that fails at the same line at every
retry would otherwise fill the log with one traceback.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

LONGEST_MESSAGE = 300
"""Characters of an exception's own words: they go into a status that people read."""


def describe(error: BaseException) -> str:
    """The exception in one line: its type, its words, and where it was raised (`views.py:41`)."""
    words = " ".join(str(error).split())[:LONGEST_MESSAGE]
    place = _place(error)
    return f"{type(error).__name__}{f': {words}' if words else ''}{f' ({place})' if place else ''}"


def _place(error: BaseException) -> str:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return f"{Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}" if last else ""


@dataclass
class Surprises:
    """`log` writes the traceback at the first surprise of a kind about a subject, a line at the others."""

    logger: logging.Logger
    most: int = 4096
    """Kinds that are remembered; the oldest are forgotten, and logged whole again."""
    _kinds: dict[tuple[str, str, str], None] = field(default_factory=dict)

    def log(self, subject: str, error: BaseException, says: str) -> None:
        """`subject`: the key of a job, or the name of an object."""
        kind = (subject, type(error).__name__, _place(error))
        first = kind not in self._kinds
        self._kinds[kind] = None
        if len(self._kinds) > self.most:
            del self._kinds[next(iter(self._kinds))]
        trace = error if first else None
        self.logger.error("%s: %s", says, describe(error), exc_info=trace, extra={"job": subject})

    def forget(self, subject: str) -> None:
        for kind in [kind for kind in self._kinds if kind[0] == subject]:
            del self._kinds[kind]
