"""How a function gets to the workers: by name where a new process can import it, by value otherwise.

A function of a module that lies in a file is imported there, as ever. What stands in a notebook, an interpreter or a
script's `__main__`, closures, lambdas, objects, and a Task itself are written with cloudpickle into a folder that
becomes a part of the run's (`worker/task/sent.py` reads it). So a script needs no `if __name__ == "__main__"` for
us: no process of a run imports it.
"""

from __future__ import annotations

import hashlib
import operator
import re
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from asgd.errors import UserError
from asgd.worker.task.sent import FILE, PICKLE, TEXT, version

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LARGE = 64 << 20
"""Bytes of a pickle from which on a person is told that each process makes its own copy."""


@dataclass(frozen=True, slots=True)
class Entrypoint:
    """What stands in the job, and the folder where its file is looked for."""

    text: str
    folder: Path
    warning: str = ""


def entrypoint_of(task: Any, staging: Path, cwd: Path) -> Entrypoint:
    """The entrypoint of a function, or of a Task. Writes what must be sent into `staging`. Raises UserError."""
    return by_name(task, cwd) or by_value(task, staging, cwd)


def by_name(function: Any, cwd: Path) -> Entrypoint | None:
    """`module:function`; None where a new process would not find that very function."""
    place, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    module = sys.modules.get(place) if isinstance(place, str) else None
    file = getattr(module, "__file__", None)
    words = [*name.split("."), *(place or "").split(".")]
    if module is None or not file or not all(map(_IDENTIFIER.fullmatch, words)):
        return None
    path = Path(file).absolute()
    if place in ("__main__", "__mp_main__") or not path.is_file() or not _holds(module, name, function):
        return None
    if not _findable(module, cwd):
        return None
    root = _root(path, module.__name__)
    return Entrypoint(f"{module.__name__}:{name}", cwd if root is None or _installed(path) else root)


def _holds(module: ModuleType, name: str, function: Any) -> bool:
    try:
        return operator.attrgetter(name)(module) is function
    except AttributeError:
        return False


def _root(path: Path, module: str) -> Path | None:
    """The folder from which `module` is imported from `path`; None where its name does not fit."""
    parts = module.split(".")
    inner = path.parent if path.name == "__init__.py" else path.with_name(path.name.partition(".")[0])
    return inner.parents[len(parts) - 1] if list(inner.parts[-len(parts) :]) == parts else None


def _installed(path: Path) -> bool:
    """It is found wherever this Python is started."""
    return any(path.is_relative_to(each) for each in _of_python())


def _of_python() -> set[str]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return {sysconfig.get_path(name) for name in names}


def search_path() -> list[str]:
    """Where this process finds modules that a new one would not."""
    places = [Path(each).absolute() for each in sys.path if each]
    return [str(each) for each in places if each.exists() and not _installed(each)]


def by_value(task: Any, staging: Path, cwd: Path) -> Entrypoint:
    """Writes `task` and a module that loads it into `staging`. Raises UserError where it can't be pickled."""
    what = getattr(task, "__qualname__", None) or f"the {type(task).__name__}"
    _refuse_devices(task)
    data = _pickled(task, what, cwd)
    last = what.rpartition(".")[2]
    name = last if _IDENTIFIER.fullmatch(last) and last != "load" else "task"
    digest = hashlib.sha256(data).hexdigest()
    text = TEXT.format(pickle=PICKLE, name=name, sha256=digest, python=version(), paths=search_path())
    (staging / PICKLE).write_bytes(data)
    (staging / FILE).write_text(text, encoding="utf-8")
    warning = ""
    if len(data) > LARGE:
        warning = (
            f"{what} is sent by value with all that it uses, {len(data) / 1e6:,.0f} MB, of which each process makes a"
            " copy: read the data inside the function, or put it into a module of its own"
        )
    return Entrypoint(f"{FILE}:{name}", staging, warning)


def _pickled(task: Any, what: str, cwd: Path) -> bytes:
    try:
        import cloudpickle
    except ImportError as error:
        raise UserError(
            f"asgd.run: {what} stands in no file that workers could import, so it is sent by value, which needs"
            " cloudpickle: pip install 'asgd-operator[notebook]'; or put it into a module of its own"
        ) from error
    module = sys.modules.get(getattr(task, "__module__", None) or "")
    ours = module is not None and module.__name__ != "__main__" and not _findable(module, cwd)
    if ours:
        cloudpickle.register_pickle_by_value(module)
    try:
        data: bytes = cloudpickle.dumps(task)
    except Exception as error:
        # What objects raise when they are pickled is theirs.
        raise UserError(
            f"asgd.run: {what} cannot be sent to the workers: {type(error).__name__}: {' '.join(str(error).split())};"
            " make what it uses inside the function, or put it into a module of its own"
        ) from error
    finally:
        if ours:
            cloudpickle.unregister_pickle_by_value(module)
    return data


def _findable(module: ModuleType, cwd: Path) -> bool:
    """A new process can import it, given this one's search path; it looks in the current directory first."""
    file = getattr(module, "__file__", None)
    root = _root(Path(file).absolute(), module.__name__) if file else None
    first = module.__name__.partition(".")[0]
    others = [] if root == cwd else [cwd / first / "__init__.py", cwd / f"{first}.py"]
    return root is not None and not any(each.exists() for each in others)


def _refuse_devices(task: Any) -> None:
    """A model that lies on a GPU would be read there by every process."""
    model = getattr(task, "model", None)
    parameters: Callable[[], Any] | None = getattr(model, "parameters", None)
    for parameter in parameters() if parameters and not isinstance(task, type) else ():
        if parameter.device.type != "cpu":
            raise UserError(
                f"asgd.run: the Task's model is on {parameter.device}; hand over model.cpu(), or a function that makes"
                " the Task: each worker moves it to its own device"
            )
