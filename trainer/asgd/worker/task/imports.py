"""Watches an import of users' code for what it leaves in the process (`traces.py` says why it matters)."""

from __future__ import annotations

import atexit
import os
import random
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from asgd.host.forkserver import lasting_threads
from asgd.spec.environment import Env
from asgd.worker.task.traces import Traces
from asgd.worker.users_code import is_users

OF_ONE_PROCESS = (Env.INDEX, Env.ANNOUNCE, Env.METRICS, Env.WORKER_INDEX, Env.WORKERS)
"""Variables that the processes of a run have different values of."""
_CALLS: tuple[tuple[ModuleType, str], ...] = (
    (atexit, "register"),
    (os, "getpid"),
    (tempfile, "mkdtemp"),
    (uuid, "uuid1"),
    (uuid, "uuid4"),
)
_CHANCE = 1 << 64
"""numpy seeds a generator that was given no seed with 128 bits from the system."""


@contextmanager
def watching() -> Iterator[Traces]:
    """Watches the block; the traces are whole when it ends without an exception."""
    found = Traces()
    threads, children, parent = lasting_threads(), _children(), _has_children()
    modules, files, state = set(sys.modules), _open_files(), _random_state()
    with _environment_watched(found.reads), _calls_watched(found.calls):
        yield found
    found.files = sorted(name for key, name in _open_files().items() if files.get(key) != name)
    found.children = bool(_children() - children) or (_has_children() and not parent)
    found.threads = max(0, lasting_threads() - threads)
    found.cuda = bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
    found.generators = sorted(_generators(set(sys.modules) - modules))
    found.drew = not _same(state, _random_state())


def _open_files() -> dict[str, str]:
    """{descriptor: what it is}; devices that every process may share are left out."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            name = str(entry.readlink())
        except OSError:  # the listing's own
            continue
        if name not in ("/dev/null", "/dev/urandom", "/dev/random"):
            found[entry.name] = name
    return found


def _children() -> set[str]:
    """Their process numbers, where the kernel tells them."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {number for task in tasks for number in task.read_text(encoding="ascii").split()}


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _generators(modules: set[str]) -> Iterator[str]:
    """Names of generators seeded by chance in those of `modules` that are the user's."""
    for name in modules:
        module = sys.modules.get(name)
        if module is not None and is_users(getattr(module, "__file__", None) or "<"):
            for key, value in vars(module).items():
                if _by_chance(value):
                    yield f"{name}.{key}"


def _by_chance(value: object) -> bool:
    if isinstance(value, np.random.Generator):
        entropy = getattr(value.bit_generator.seed_seq, "entropy", 0)
        return isinstance(entropy, int) and entropy >= _CHANCE
    # These do not tell how they were seeded.
    return isinstance(value, (np.random.RandomState, random.Random))


def _random_state() -> Any:
    return random.getstate(), np.random.get_state(legacy=True), torch.get_rng_state()


def _same(one: Any, other: Any) -> bool:
    (a, b, c), (d, e, f) = one, other
    return a == d and all(np.array_equal(x, y) for x, y in zip(b, e, strict=True)) and bool(torch.equal(c, f))


class _Watched(os._Environ):  # type: ignore[type-arg]  # os.environ's class, generic for type checkers alone
    """os.environ that remembers who of OF_ONE_PROCESS was asked for."""

    noted: list[str]

    def __getitem__(self, key: Any) -> Any:
        if key in OF_ONE_PROCESS and key not in self.noted:
            self.noted.append(str(key))
        return super().__getitem__(key)


@contextmanager
def _environment_watched(noted: list[str]) -> Iterator[None]:
    plain = os.environ.__class__
    os.environ.__class__ = _Watched
    os.environ.noted = noted  # type: ignore[attr-defined]
    try:
        yield
    finally:
        os.environ.__class__ = plain
        del os.environ.noted  # type: ignore[attr-defined]


@contextmanager
def _calls_watched(noted: list[str]) -> Iterator[None]:
    """Notes calls of _CALLS that come from users' files."""
    plain = [(module, name, getattr(module, name)) for module, name in _CALLS]
    for module, name, function in plain:
        setattr(module, name, _noting(f"{module.__name__}.{name}", function, noted))
    try:
        yield
    finally:
        for module, name, function in plain:
            setattr(module, name, function)


def _noting(name: str, function: Callable[..., Any], noted: list[str]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1)
        while (
            caller.f_code.co_filename == tempfile.__file__ and caller.f_back
        ):  # TemporaryDirectory() of the user's
            caller = caller.f_back
        if is_users(caller.f_code.co_filename):
            noted.append(f"{name} ({Path(caller.f_code.co_filename).name}:{caller.f_lineno})")
        return function(*args, **kwargs)

    return call
