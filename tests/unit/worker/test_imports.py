"""What users' imports leave behind is found out by looking, and decides whether their process can be forked."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from asgd.worker.preload import leading_imports
from asgd.worker.task.imports import watching
from asgd.worker.task.traces import Traces, obstacle

Import = Callable[[str], Traces]


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Import:
    """Imports a module of the user's; what it leaves."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = iter(f"users_{number}_{tmp_path.name.lower()}" for number in range(9))

    def watch(text: str) -> Traces:
        name = next(names)
        (tmp_path / f"{name}.py").write_text(dedent(text), encoding="utf-8")
        importlib.invalidate_caches()
        with watching() as traces:
            importlib.import_module(name)
        monkeypatch.setitem(sys.modules, name, sys.modules[name])
        return traces

    return watch


def why(traces: Traces) -> str:
    return obstacle(traces, script=False)


def test_plain_code_leaves_nothing(imported: Import) -> None:
    traces = imported(
        """
        import os, json, random, tempfile
        import numpy as np, torch
        SEEDED = np.random.default_rng(0)
        TABLE = np.random.default_rng(1).normal(size=8)
        with open(__file__) as file:
            TEXT = file.read()
        HOME = os.environ.get("HOME", "")
        NET = torch.nn.Linear(3, 3)
        """
    )
    assert why(traces) == ""


def test_a_process_that_was_there_before_is_none_of_the_import_s(imported: Import) -> None:
    with subprocess.Popen(["sleep", "60"]) as before:
        assert why(imported("VALUE = 1")) == ""
        started = "import subprocess\nCHILD = subprocess.Popen(['sleep', '60'])"
        assert why(imported(started)) == "started a process"
        before.kill()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("FILE = open(__file__, 'rb')", "left {folder}"),
        ("import socket\nPAIR = socket.socketpair()", "left socket:["),
        (
            "import os\nRANK = int(os.environ.get('ASGD_WORKER_INDEX', '0'))",
            "read ASGD_WORKER_INDEX, which each worker has of its own",
        ),
        ("from os import getenv\nINDEX = getenv('ASGD_WORKER_INDEX')", "read ASGD_WORKER_INDEX"),
        ("import os\nNAME = f'log-{os.getpid()}'", "called os.getpid ("),
        ("import tempfile\nSCRATCH = tempfile.TemporaryDirectory()", "called tempfile.mkdtemp ("),
        ("import uuid\nRUN = uuid.uuid4()", "called uuid.uuid4 ("),
        ("import atexit\n@atexit.register\ndef bye(): pass", "called atexit.register ("),
        ("import numpy as np\nrng = np.random.default_rng()", ".rng, a random generator without a seed"),
        ("import random\ndice = random.Random()", ".dice, a random generator without a seed"),
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=[5], daemon=True).start()",
            "left 1 thread",
        ),
        ("import subprocess\nCHILD = subprocess.Popen(['sleep', '5'])", "started a process"),
    ],
)
def test_what_a_fork_would_share_or_lose_is_named(
    imported: Import, tmp_path: Path, text: str, reason: str
) -> None:
    traces = imported(text)
    try:
        assert reason.format(folder=tmp_path) in why(traces)
    finally:
        for module in [module for name, module in sys.modules.items() if name.startswith("users_")]:
            if child := getattr(module, "CHILD", None):
                child.kill()
                child.wait()


def test_a_library_may_ask_for_the_process_where_the_users_own_file_may_not(imported: Import) -> None:
    assert why(imported("import logging\nlogging.getLogger('mine').warning('a record holds the pid')")) == ""


def test_numbers_that_imports_draw_matter_to_a_script_that_draws_on(imported: Import) -> None:
    traces = imported("import torch\nNOISE = torch.randn(3)")
    assert obstacle(traces, script=False) == ""
    assert obstacle(traces, script=True) == "drew random numbers"


def test_the_environment_and_the_functions_are_as_before_after_a_watch_that_failed() -> None:
    import atexit
    import os

    before = (type(os.environ), os.getpid, atexit.register)
    with pytest.raises(ZeroDivisionError), watching():
        raise ZeroDivisionError
    assert (type(os.environ), os.getpid, atexit.register) == before
    said = subprocess.run(
        ["sh", "-c", "echo $ASGD_SET"], env={**os.environ, "ASGD_SET": "x"}, capture_output=True
    )
    assert said.stdout == b"x\n"


def test_only_the_imports_that_stand_first_in_a_script_are_taken() -> None:
    source = b'"""Words."""\nfrom __future__ import annotations\nimport json\nfrom os import path\nX = 1\nimport late\n'
    names: dict[str, object] = {}
    exec(compile(leading_imports(source, "script.py"), "script.py", "exec"), names)
    assert {"json", "path"} <= names.keys()
    assert not {"late", "X"} & names.keys()
