"""A worker whose user's code has raised tells shard 0 where; what strikes every worker there ends the job at once."""

from __future__ import annotations

import traceback

from asgd.errors import TryAgain, UserError
from asgd.host.warned import tell_person
from asgd.wire.ask import Asker
from asgd.wire.limits import NAME_MOST
from asgd.wire.messages import Done, Failed
from asgd.worker.core import WorkerCore
from asgd.worker.users_code import place, sentence

TELL_SECONDS = 5.0
"""The worker is ending: a server that is away is not waited for longer."""
LONE_SAMPLE = "Expected more than 1 value per channel"
"""In torch's words: batch norm has no variance of one sample."""


def tell(
    error: BaseException, entrypoint: str, index: int, incarnation: int, core: WorkerCore, asker: Asker
) -> None:
    """Raises UserError when no restart mends it: every worker of the job has failed there before its first push, or
    batch norm has met the one sample that the user's batch size leaves over."""
    _refuse_lone_sample(error, entrypoint)
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


def tell_after_stop(error: BaseException) -> None:
    """A script has raised after it was told to stop: no fault of the job. It may need what its loop would have made.

    It stands in the log, and is told to the person once.
    """
    traceback.print_exception(error)
    file, _, line = place(error).rpartition(":")
    tell_person(
        f"the script was told to stop, and then raised {sentence(error, placed=False)}",
        file,
        int(line) if line.isdigit() else 0,
    )


def _refuse_lone_sample(error: BaseException, entrypoint: str) -> None:
    """NB: leases make no batch of one sample which the data don't have themselves."""
    if LONE_SAMPLE not in str(error):
        return
    traceback.print_exception(error)
    raise UserError(
        f"spec.entrypoint: {entrypoint}: batch norm has met a batch of 1 sample, as in plain PyTorch, which no restart"
        f" mends: {sentence(error)}; allowed: a batch size that leaves none over, or drop_last=True in a DataLoader"
    ) from error
