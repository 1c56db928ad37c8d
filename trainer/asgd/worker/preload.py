"""What the fork server of workers imports: torch, all that a worker, an evaluator and the check need, and users' code.

torch comes with this module. The user's code is imported by `preload`, in a branch of the fork server: should the code
be unfit for forks, break the process or never return, there is still the fork server with torch alone.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import msgspec
import torch  # noqa: F401  # comes first, for it takes longest and what breaks is named after it

import asgd.worker.evaluator
import asgd.worker.process
import asgd.worker.task.check
import asgd.worker.task.script  # noqa: F401
from asgd.host.forkserver import settle
from asgd.host.warned import tell_warnings
from asgd.spec import job_from_json
from asgd.spec.evaluators import is_script
from asgd.spec.types import JobSpec
from asgd.worker.device.accelerator import limit_threads
from asgd.worker.task.entrypoint import expose, find_file, load_entrypoint
from asgd.worker.task.imports import watching
from asgd.worker.task.script import arguments


def preload(job: str) -> dict[str, Any]:
    """Imports the user's code of the job in the file `job`; returns the `Traces` that it left. Raises UserError."""
    spec = job_from_json(Path(job).read_bytes()).spec
    script = is_script(spec.entrypoint)
    tell_warnings()
    # NB: so that a number of threads which the user's code sets is told from ours.
    limit_threads(spec)
    with watching() as traces:
        if script:
            _preload_script(spec)
        else:
            load_entrypoint(spec)
    settle()
    return {"traces": msgspec.to_builtins(traces), "script": script}


def _preload_script(spec: JobSpec) -> None:
    """Imports what the script imports first of all, as it would: each fork then runs the script from its beginning."""
    path = find_file(spec.entrypoint, expose(spec))
    sys.argv = [str(path), *arguments(spec.args)]
    imports = leading_imports(path.read_bytes(), str(path))
    # What the script's imports raise is told when the script itself runs into it.
    exec(compile(imports, str(path), "exec"), {"__name__": "__main__", "__file__": str(path)})


def leading_imports(source: bytes, name: str) -> ast.Module:
    """The imports that stand before everything else in a script: nothing that it does can come before them."""
    tree = ast.parse(source, name)
    leading: list[ast.stmt] = []
    for statement in tree.body:
        docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if not docstring and not isinstance(statement, (ast.Import, ast.ImportFrom)):
            break
        leading.append(statement)
    return ast.Module(leading, [])
