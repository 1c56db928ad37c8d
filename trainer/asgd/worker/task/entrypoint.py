"""Finds and imports what `spec.entrypoint` names: a callable (or a Task) of a module or a file, or a script.

A file is looked for in `spec.source`, in the current directory and then in the job file's folder (`asgd run`
tells it by ASGD_JOB_FOLDER; pods have none). The same three places stand on the import path, so that users'
files find each other.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import operator
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from asgd.errors import AsgdError, UserError
from asgd.spec.environment import Env
from asgd.spec.types import JobSpec
from asgd.worker.users_code import sentence


def load_entrypoint(spec: JobSpec) -> Callable[..., Any]:
    """The callable that `spec.entrypoint` names. Raises UserError when there is none, or importing it fails."""
    place, _, name = spec.entrypoint.rpartition(":")
    folders = expose(spec)
    # NB: what is drawn at module level (a split into training and test set) must be the same in every process.
    from asgd.worker.device.randomness import seed_everything  # torch, which the launcher does without

    seed_everything(spec.seed)
    module = _import(place, folders)
    try:
        function = operator.attrgetter(name)(module)
    except AttributeError as error:
        raise UserError(f"spec.entrypoint: {place} has no {name!r}; it has {_callables(module)}") from error
    from asgd.task import Task

    if isinstance(function, Task):
        return _copies(function, spec.entrypoint)
    if not callable(function):
        raise UserError(
            f"spec.entrypoint: {spec.entrypoint} is {type(function).__name__}, not a callable or an asgd.Task"
        )
    return function  # type: ignore[no-any-return]  # checked above as far as Python can


def _copies(task: Any, entrypoint: str) -> Callable[[], Any]:
    """A Task that was made at module level: each build gets a copy, with the same data.

    NB: one that has been trained would not be what a restart, or the judge of a simulation, begins with.
    """

    def build() -> Any:
        try:
            return copy.deepcopy(task, {id(task.data): task.data})
        except (Exception, SystemExit) as error:
            # What users' objects raise when they are copied is theirs.
            raise UserError(
                f"spec.entrypoint: {entrypoint} is a Task that can't be copied: {sentence(error)}; allowed: a function"
                " that returns it"
            ) from error

    return build


def _import(place: str, folders: list[Path]) -> ModuleType:
    try:
        return _load_file(find_file(place, folders)) if place.endswith(".py") else _load_module(place)
    except AsgdError:
        raise
    except (Exception, SystemExit) as error:
        # Whatever users' code raises while it is imported is theirs to mend; the sentence says where.
        raise UserError(f"spec.entrypoint: importing {place} failed: {sentence(error)}") from error


@contextmanager
def code_in(folder: Path) -> Iterator[None]:
    """This process looks for entrypoints in `folder` too, as the processes of a run do; then it is none of them again.

    What users' code was told of the job by its environment (`Env`) is as before afterwards.
    """
    before = {name: os.environ.get(name) for name in Env}
    os.environ[Env.JOB_FOLDER] = str(folder)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def expose(spec: JobSpec) -> list[Path]:
    """Puts `spec.source`, the current directory and the job file's folder on the import path; returns them."""
    folders = [Path.cwd()]
    if spec.source:
        folders.insert(0, _write_source(spec.source))
    if os.environ.get(Env.JOB_FOLDER):
        folders.append(Path(os.environ[Env.JOB_FOLDER]))
    _prepend(*folders)
    return folders


def find_file(path: str, folders: list[Path]) -> Path:
    """The first of `folders` that holds `path`. Raises UserError when none does."""
    found = next((folder / path for folder in folders if (folder / path).is_file()), None)
    if found is None:
        raise UserError(f"spec.entrypoint: no file {path} in {' or '.join(map(str, dict.fromkeys(folders)))}")
    _prepend(found.parent)
    return found


def _prepend(*folders: Path) -> None:
    names = dict.fromkeys(str(folder) for folder in folders)
    sys.path[:0] = [name for name in names if name not in sys.path]


def _write_source(source: dict[str, str]) -> Path:
    """The files of `spec.source` in a folder that all processes of a run may share (ASGD_SOURCE)."""
    folder = Path(os.environ.get(Env.SOURCE) or tempfile.mkdtemp(prefix="asgd-source-"))
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in source.items():
        partial = folder / f"{name}.{os.getpid()}"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)
    os.environ[Env.SOURCE] = str(folder)
    return folder


def _load_module(place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(error.name + ".")):
            raise UserError(
                f"spec.entrypoint: no module named {place!r} in {Path.cwd()} or installed"
            ) from error
        raise


@cache
def _load_file(path: Path) -> ModuleType:
    """Once in a process and its forks, as any module.

    Raises what the user's code raises.
    """
    # NB: a user's file may be called like a module that is loaded already (types.py).
    name = path.stem if path.stem not in sys.modules else f"asgd_entrypoint_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    module_spec.loader.exec_module(module)
    return module


def _callables(module: ModuleType) -> str:
    names = [
        name
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and getattr(value, "__module__", "") == module.__name__
    ]
    return ", ".join(names[:8]) or "no callables"
