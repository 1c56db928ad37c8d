"""What a server's refusal means to a worker: whether the user, a new process or another version helps."""

from __future__ import annotations

from asgd.errors import AsgdError, TryAgain, UserError, VersionMismatch
from asgd.wire.messages import Fault

USERS = ("job", "layout", "refused:dataset", "refused:index", "refused:size")
"""What only the user can mend: the job, the model, the data, the command."""
ENDED = ("session", "bug")
"""This process is no longer wanted, or the server has failed: a new one may do."""


def error_of(fault: Fault, shard: int) -> AsgdError:
    """The error that `fault` of shard number `shard` ends this worker with."""
    if fault.code in USERS:
        return UserError(f"shard {shard}: {fault.text}")
    if fault.code in ENDED:
        return TryAgain(f"shard {shard}: {fault.text}; this worker ends")
    # NB: what a worker says is well-formed and true to a server of the same version.
    return VersionMismatch(f"shard {shard}: {fault.text}; another version of this program?")
