"""From `spec.entrypoint` to a `Task`: imports the user's code and says in one sentence what is wrong with it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from asgd.errors import AsgdError, UserError
from asgd.spec.types import JobSpec
from asgd.task import Task


def build_task(spec: JobSpec) -> Task:
    """Calls the entrypoint under the job's seed. Raises UserError naming entrypoint, and what is wrong with it."""
    function = load_entrypoint(spec)
    seed_everything(spec.seed)
    try:
        task = function(**spec.args)
    except AsgdError:
        raise
    except Exception as error:
        # Whatever users' code raises while it builds a task is theirs to mend; the place says where.
        raise UserError(f"spec.entrypoint: {spec.entrypoint} failed: {_sentence(error)}") from error
    if not isinstance(task, Task):
        raise UserError(
            f"spec.entrypoint: {spec.entrypoint} returned {type(task).__name__}; it must return an asgd.Task"
        )
    if not isinstance(task.model, nn.Module):
        raise UserError(
            f"spec.entrypoint: {spec.entrypoint}: Task.model is {type(task.model).__name__}; allowed: a torch.nn.Module"
        )
    return task


def is_script(entrypoint: str) -> bool:
    """`train.py` is a script that calls asgd.connect() itself; `train.py:task` and `module:task` give a Task."""
    return entrypoint.endswith(".py")


def load_entrypoint(spec: JobSpec) -> Callable[..., Any]:
    """The callable that `spec.entrypoint` names."""
    _expose_source(spec)
    place, _, name = spec.entrypoint.rpartition(":")
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    function = getattr(module, name, None)
    if function is None:
        raise UserError(f"spec.entrypoint: {place} has no {name!r}; it has {_callables(module)}")
    if not callable(function):
        raise UserError(f"spec.entrypoint: {spec.entrypoint} is {type(function).__name__}, not a callable")
    return function  # type: ignore[no-any-return]  # checked above as far as Python can


def _expose_source(spec: JobSpec) -> None:
    """Puts `spec.source` files and the working directory on the import path, here and in pods alike."""
    folders = [str(Path.cwd())]
    if spec.source:
        folder = Path(os.environ.get("ASGD_SOURCE") or tempfile.mkdtemp(prefix="asgd-source-"))
        for name, text in spec.source.items():
            target = folder / name
            if not target.exists():
                target.write_text(text, encoding="utf-8")
        folders.insert(0, str(folder))
        os.environ["ASGD_SOURCE"] = str(folder)
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]


def _load_module(place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(error.name + ".")):
            raise UserError(
                f"spec.entrypoint: no module named {place!r} in {Path.cwd()} or installed"
            ) from error
        raise UserError(f"spec.entrypoint: importing {place} failed: {error}") from error
    except Exception as error:
        raise UserError(f"spec.entrypoint: importing {place} failed: {_sentence(error)}") from error


def _load_file(path: Path) -> ModuleType:
    found = next((p for p in (path, *(Path(f) / path for f in sys.path)) if p.is_file()), None)
    if found is None:
        raise UserError(f"spec.entrypoint: no file {path} in {Path.cwd()}")
    module_spec = importlib.util.spec_from_file_location(found.stem, found)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[found.stem] = module
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"spec.entrypoint: importing {path} failed: {_sentence(error)}") from error
    return module


def _callables(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
    return ", ".join(names[:8]) or "no callables"


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})" if trace else ""
    return f"{type(error).__name__}: {text}{place}"


def seed_everything(seed: int) -> None:
    """All workers build the same model from the same seed."""
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    torch.manual_seed(seed)
