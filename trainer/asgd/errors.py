"""The trainer's errors: one small tree, each mapped to the exit code that the process ends with."""

from __future__ import annotations

from typing import Any

from asgd import exitcodes


class AsgdError(Exception):
    """Base of all errors that this package raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class UserError(AsgdError):
    """The user's input is wrong. The message names the field, the value and what is allowed, in one sentence."""

    exit_code = exitcodes.USER_ERROR


class RunFailed(AsgdError):
    """What `asgd.run` or `asgd.simulate` has started ended otherwise than well. The message is its last sentence.

    `run` is the `asgd.Run`, with what it has left; `exit_code` what the command line would have ended with.
    """

    def __init__(self, sentence: str, exit_code: int, run: Any) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
        self.run = run


class Damaged(UserError):
    """A file of a checkpoint is missing, cut off or not what was written; an older checkpoint may be whole."""

    save = 0
    """Its number; 0: it has none."""


class TryAgain(AsgdError):
    """Something outside is missing for now: a server that does not answer, a store that cannot be reached."""

    exit_code = exitcodes.TRY_AGAIN


class ProtocolError(AsgdError):
    """A message that this version cannot read, or that breaks the rules of the wire: never the user's fault."""

    exit_code = exitcodes.TRY_AGAIN
    code = "protocol"
    """Of the Fault that tells its sender."""


class VersionMismatch(ProtocolError):
    """The peer runs another version of this program: trying again helps when one of both has been replaced."""

    code = "version"


class Fenced(AsgdError):
    """A newer server has claimed a higher term: this one must stop and write nothing more."""

    exit_code = exitcodes.TRY_AGAIN


class FencedByOther(Fenced):
    """The newer server belongs to another run: it would be of no use to start this one again."""

    exit_code = exitcodes.FENCED
