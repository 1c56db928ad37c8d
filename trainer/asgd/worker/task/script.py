"""Runs a user's own training script in a worker, as `python script.py` would; it joins the job by `asgd.connect()`.

What it raises before it has joined is a mistake that no restart mends: exit 2 with one sentence, the traceback
above it. What it raises later ends the worker like any crash, and it is started again within its budget; unless every
worker has raised there before its first push.
"""

from __future__ import annotations

import json
import runpy
import sys
import traceback
from collections.abc import Mapping
from typing import Any

import torch

from asgd.errors import AsgdError, UserError
from asgd.host.env import ProcessConfig
from asgd.worker import joined
from asgd.worker.device.accelerator import choose_device
from asgd.worker.device.randomness import seed_everything
from asgd.worker.task.entrypoint import expose, find_file
from asgd.worker.users_code import sentence


def run_script(config: ProcessConfig) -> int:
    """Runs `spec.entrypoint`; returns the worker's exit code. Raises UserError when it never joins the job."""
    spec = config.job.spec
    path = find_file(spec.entrypoint, expose(spec))
    seed_everything(spec.seed)
    if spec.workers.devices.count:
        # The script's own "cuda" is this worker's device.
        torch.cuda.set_device(choose_device(spec.workers.devices.count, config.index))
    sys.argv = [str(path), *arguments(spec.args)]
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as error:
        if error.code not in (None, 0) and not _fail(error):
            raise
    except Exception as error:
        # A user's script may raise anything.
        if joined.connection is not None and _fail(error):
            return joined.connection.exit_code
        if joined.connection is not None or isinstance(error, AsgdError):
            raise
        traceback.print_exception(error)
        raise UserError(
            f"spec.entrypoint: {spec.entrypoint} failed before it called asgd.connect(): {sentence(error)}"
        ) from error
    if joined.connection is None:
        # NB: what the script has printed must not come after the sentence that the run ends with.
        sys.stdout.flush()
        raise UserError(f"spec.entrypoint: {spec.entrypoint} ended without calling asgd.connect(model)")
    joined.connection.close()
    return joined.connection.exit_code


def _fail(error: BaseException) -> bool:
    """Whether it matters no more, for the script was told to stop before."""
    return joined.connection is not None and joined.connection.fail(error)


def arguments(args: Mapping[str, Any]) -> list[str]:
    """`spec.args` as a command line: --key=value, --key for true, nothing for false and null, JSON for objects.

    A list is --key and its elements, as argparse's `nargs="+"` and `nargs="*"` read them.
    """
    words = []
    for key, value in args.items():
        if value is True:
            words.append(f"--{key}")
        elif isinstance(value, list):
            words += [f"--{key}", *map(_word, value)]
        elif value is not None and value is not False:
            words.append(f"--{key}={_word(value)}")
    return words


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
