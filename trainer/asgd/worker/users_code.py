"""Which code is the user's, and what of it went wrong: errors of users' code are told with the user's own line."""

from __future__ import annotations

import site
import sysconfig
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


def is_users(file: str) -> bool:
    """Whether code in `file` is the user's, and no library's or ours."""
    return not file.startswith(_NOT_USERS)


def sentence(error: BaseException) -> str:
    """What went wrong in users' code, on one line, with the last line of their own that took part."""
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename or '?').name}:{error.lineno})"
    frames = _users_frames(error) or traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}"


def _users_frames(error: BaseException) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if is_users(frame.filename)]
