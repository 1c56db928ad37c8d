"""Names and shapes of a task's parameters, for `asgd validate`: builds the task in a process of its own.

Users' code may print, change what is imported, or end the process; whoever asks must not feel it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from asgd.errors import UserError
from asgd.spec import job_from_json


def main() -> int:
    """Builds the task of the job in argv[1] and writes its layout to argv[2]."""
    try:
        from asgd.worker.device.flat import layout_of  # torch, which may not be here
        from asgd.worker.task.build import build_task

        task = build_task(job_from_json(Path(sys.argv[1]).read_bytes()).spec)
        Path(sys.argv[2]).write_bytes(msgspec.json.encode(layout_of(task.model)))
    except (UserError, ModuleNotFoundError) as error:
        print(error, file=sys.stderr)
        return UserError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
