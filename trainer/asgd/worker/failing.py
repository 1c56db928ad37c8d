"""A worker whose user's code has raised tells shard 0 where; what strikes every worker there ends the job at once."""

from __future__ import annotations

import traceback

from asgd.errors import TryAgain, UserError
from asgd.wire.ask import Asker
from asgd.wire.limits import NAME_MOST
from asgd.wire.messages import Done, Failed
from asgd.worker.core import WorkerCore
from asgd.worker.users_code import place, sentence

TELL_SECONDS = 5.0
"""The worker is ending: a server that is away is not waited for longer."""


def tell(
    error: BaseException, entrypoint: str, index: int, incarnation: int, core: WorkerCore, asker: Asker
) -> None:
    """Raises UserError when every worker of the job has failed there before its first push, which no restart mends."""
    where = place(error)
    if not where or (core.steps and core.sequence):
        return
    try:
        answer = asker.ask(Failed(index, incarnation, where[-NAME_MOST:]), TELL_SECONDS)
    except TryAgain:
        return
    if isinstance(answer, Done) and answer.body:
        traceback.print_exception(error)
        raise UserError(
            f"spec.entrypoint: {entrypoint} failed in every worker before its first push: {sentence(error)}"
        ) from error
