"""Warnings of users' code, from the process that gives them to the person who has started the job.

In a worker `warnings.warn` and `logging.warning` go to its log as ever, where few people look. `tell_warnings` also
adds each to the file ASGD_WARNINGS, a line of JSON; `Warned` reads it in `asgd run` and says each once, however many
processes repeat it.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from asgd.spec.environment import Env

TOLD_MOST = 100
"""So many different ones of a process are told."""
SAID_MOST, PLACE_MOST = 20, 3
"""So many are said in a run, and of one line of code: a loop may warn with another number each time."""
LONGEST = 300


class _Teller:
    """Adds lines to `path`, each once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: set[tuple[str, str]] = set()

    def tell(self, text: str, file: str, line: int) -> None:
        """NB: a warning must never become an error, so a full disk is none here."""
        words = " ".join(text.split())
        told = words[:LONGEST] + ("..." if len(words) > LONGEST else ""), f"{Path(file).name}:{line}"
        if told in self._told or len(self._told) >= TOLD_MOST:
            return
        self._told.add(told)
        with suppress(OSError), self._path.open("a", encoding="utf-8") as target:
            target.write(json.dumps(told) + "\n")


def tell_warnings() -> None:
    """From here on this process, and what it forks, tells its warnings. Once is enough; does nothing outside a run."""
    global _teller
    path = os.environ.get(Env.WARNINGS)
    if not path or _teller:
        return
    teller = _teller = _Teller(Path(path))
    show, make = warnings.showwarning, logging.getLogRecordFactory()

    def shown(
        message: Warning | str, category: type[Warning], filename: str, lineno: int,
        file: TextIO | None = None, line: str | None = None,
    ) -> None:  # fmt: skip
        show(message, category, filename, lineno, file, line)
        teller.tell(f"{category.__name__}: {message}", filename, lineno)

    def made(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if record.levelno >= logging.WARNING:
            # NB: a message that does not fit its arguments is for logging itself to complain of.
            with suppress(TypeError, ValueError, KeyError):
                teller.tell(record.getMessage(), record.pathname, record.lineno)
        return record

    warnings.showwarning = shown
    # NB: a handler on the root logger would make users' logging.basicConfig do nothing.
    logging.setLogRecordFactory(made)


_teller: _Teller | None = None


def tell_person(text: str, file: str, line: int) -> None:
    """Tells something about line `line` of `file` as a warning is told; outside a run, nobody."""
    if _teller:
        _teller.tell(text, file, line)


class Warned:
    """What processes have told in `path`."""

    def __init__(self, path: Path, logs: Path) -> None:
        self._path, self._logs = path, logs
        self._read = 0
        self._said: set[str] = set()
        self._places: Counter[str] = Counter()
        self._full = False

    def new(self) -> Iterator[str]:
        """Lines for the person, each once in a run, and at most `SAID_MOST`."""
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.splitlines():
                yield from self._say(*json.loads(line))

    def _say(self, text: str, place: str) -> Iterator[str]:
        if text in self._said or self._places[place] >= PLACE_MOST or self._full:
            return
        if len(self._said) == SAID_MOST:
            self._full = True
            yield f"there are more warnings, which stand in {self._logs} alone"
            return
        self._said.add(text)
        self._places[place] += 1
        yield f"warning: {text} ({place})"
