"""Names and shapes of a task's parameters, or of a script's models, for `asgd validate`: in a process of its own.

A task is built; a script runs until it calls `asgd.connect`. Users' code may print, change what is imported, or end the
process; whoever asks must not feel it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from asgd.errors import AsgdError, UserError
from asgd.spec import job_from_json
from asgd.spec.evaluators import is_script
from asgd.spec.types import JobSpec

Layout = list[tuple[str, list[int]]]


class Reached(BaseException):
    """The script has called `asgd.connect`. No `except Exception` of its own catches it."""


def of_task(spec: JobSpec) -> Layout:
    """[(name, shape)] of the trained parameters of the task. Raises UserError."""
    from asgd.worker.device.flat import layout_of  # torch, which may not be here
    from asgd.worker.task.build import build_task

    return layout_of(build_task(spec).model)


def of_script(spec: JobSpec) -> Layout:
    """The same of the models that the script connects, each name begins with the model's. Raises UserError."""
    import runpy

    import asgd
    from asgd.worker.device.flat import layout_of
    from asgd.worker.device.randomness import seed_everything
    from asgd.worker.task.entrypoint import expose, find_file
    from asgd.worker.task.script import arguments
    from asgd.worker.users_code import sentence

    found: Layout = []

    def connect(model: Any, *_: Any, **__: Any) -> Any:
        models: list[tuple[str, Any]] = [*model.items()] if isinstance(model, Mapping) else [("", model)]
        found.extend((f"{name}.{own}", shape) for name, one in models for own, shape in layout_of(one))
        raise Reached

    path = find_file(spec.entrypoint, expose(spec))
    vars(asgd)["connect"] = connect
    sys.argv = [str(path), *arguments(spec.args)]
    seed_everything(spec.seed)
    try:
        runpy.run_path(str(path), run_name="__main__")
    except Reached:
        return found
    except AsgdError:
        raise
    except (Exception, SystemExit) as error:
        # Whatever users' code raises is theirs to mend.
        raise UserError(sentence(error)) from error
    raise UserError("it ended without calling asgd.connect()")


def main() -> int:
    """Writes the layout of the job in argv[1] to argv[2]."""
    asked, answer = map(Path, sys.argv[1:3])
    try:
        spec = job_from_json(asked.read_bytes()).spec
        found = of_script(spec) if is_script(spec.entrypoint) else of_task(spec)
        answer.write_bytes(msgspec.json.encode(found))
    except (UserError, ModuleNotFoundError) as error:
        print(error, file=sys.stderr)
        return UserError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
