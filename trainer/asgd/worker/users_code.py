"""Which code is the user's, and what of it went wrong: errors of users' code are told with the user's own line."""

from __future__ import annotations

import re
import site
import sys
import sysconfig
import threading
import traceback
from pathlib import Path

import asgd

_NOT_USERS = (
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    *site.getsitepackages(),
    *asgd.__path__,
    "<",
)
"""Where files lie that are not the user's."""
_TYPED = ("<stdin>", "<console>", "<python-input", "<ipython-input")
"""What Python and its shells call code that a person has typed."""


def is_users(file: str) -> bool:
    """Whether code in `file` is the user's, and no library's or ours."""
    return file.startswith(_TYPED) or not file.startswith(_NOT_USERS)


def sentence(error: BaseException, *, placed: bool = True) -> str:
    """What went wrong in users' code, on one line, with the last line of their own that took part if `placed`."""
    where = place(error) if placed else ""
    return _what(error) + (f" ({where})" if where else "")


def place(error: BaseException) -> str:
    """The last line of the user's own that took part, as `train.py:12`; '' where nobody knows."""
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or '?').name}:{error.lineno}"
    told = [line for line in _LINE.findall(str(error)) if is_users(line[0])] if _in_loader(error) else []
    if told:
        return f"{Path(told[-1][0]).name}:{told[-1][1]}"
    frames = _users_frames(error) or traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def standing() -> str:
    """Where the main thread is now: the innermost line of the user's own, as `train.py:12`; else of anybody's.

    NB: no file is read, since reading may be what hangs.
    """
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    lines = [(inner.f_code.co_filename, line) for inner, line in traceback.walk_stack(frame)] if frame else []
    file, line = next((at for at in lines if is_users(at[0])), lines[0] if lines else ("", 0))
    return f"{Path(file).name}:{line}" if file else ""


def is_theirs(error: BaseException) -> bool:
    """Whether code of the user's took part."""
    return _in_loader(error) or isinstance(error, SyntaxError) or bool(_users_frames(error))


def _what(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    if _in_loader(error):
        return str(error).strip().splitlines()[-1].strip()
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"


def _in_loader(error: BaseException) -> bool:
    """It was raised in a process of a DataLoader, whose traceback is its text."""
    return str(error).startswith("Caught ") and "Original Traceback" in str(error)


_LINE = re.compile(r'^\s*File "(.+)", line (\d+)', re.MULTILINE)


def _users_frames(error: BaseException) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if is_users(frame.filename)]
