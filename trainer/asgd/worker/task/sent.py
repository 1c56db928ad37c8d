"""The user's code that has no file: read in a worker from the two files that `asgd.run` left for it.

What stands in a notebook, an interpreter or a script's `__main__` is written with cloudpickle to `asgd_sent.pickle` in
the run's own folder; `asgd_sent.py` beside it is the entrypoint that every process imports, like any file of a user's.
So seeds, the agreement of processes and replays know nothing of it. A pickle runs code when it is read: it lies in
the run's folder, where the user's code lies too, and never travels over the wire.
"""

from __future__ import annotations

import base64
import hashlib
import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from asgd.errors import AsgdError, UserError
from asgd.worker.users_code import sentence

FILE = "asgd_sent.py"
PICKLE = "asgd_sent.pickle"
TEXT = '''\
"""The task of this run had no file: asgd.run() sent it by value, and {pickle} holds it."""

from asgd.worker.task.sent import load

{name} = load(__file__, sha256="{sha256}", python="{python}", paths={paths!r})
'''
TEXT_ALONE = '''\
"""The task of this job had no file: asgd.client.submit() sent it by value."""

from asgd.worker.task.sent import load_text

{name} = load_text(
    """
{text}
""",
    sha256="{sha256}",
    python="{python}",
)
'''
"""The same as one file, for where no file beside it may be anything but text."""


def version() -> str:
    """Functions sent by value belong to one minor version of Python: they hold its byte code."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def load(file: str, *, sha256: str, python: str, paths: Sequence[str]) -> Callable[..., Any]:
    """The callable that was sent; `file` is asgd_sent.py. A Task that was sent is a callable that gives a new copy.

    `paths`: where the sender's modules lie. Raises UserError where the pickle is missing, not what was sent, or of
    another Python.
    """
    path = Path(file).with_name(PICKLE)
    _check_version(python, path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{path} is not what was sent: its sha256 is not the one in {FILE}")
    sys.path.extend(each for each in paths if each not in sys.path)
    sent = _read(data, path)
    return sent if callable(sent) else lambda: _read(data, path)


def load_text(text: str, *, sha256: str, python: str) -> Callable[..., Any]:
    """As `load`, of a pickle that stands in `text`, as base64."""
    _check_version(python, FILE)
    data = base64.b64decode(text)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{FILE} is not what was sent: the sha256 in it does not match")
    sent = _read(data, FILE)
    return sent if callable(sent) else lambda: _read(data, FILE)


def _check_version(python: str, place: str | Path) -> None:
    if python != version():
        raise UserError(
            f"{place} was written by Python {python} and this is {version()}: what is sent by value can be read by the"
            " same minor version alone"
        )


def _read(data: bytes, path: str | Path) -> Any:
    try:
        return pickle.loads(data)
    except AsgdError:
        raise
    except Exception as error:
        # Reading imports the modules that the code uses, which may raise anything.
        raise UserError(f"{path}: what was sent cannot be made here: {sentence(error)}") from error
