"""A verdict: that a job is over, and why. Success and failure rules return one or none; a written one is
final.
"""

from __future__ import annotations

from dataclasses import dataclass

from asgd_operator.constants import Condition


@dataclass(frozen=True, slots=True)
class Verdict:
    """`kind` is Complete or Failed; `reason` is one of the closed list of that condition."""

    kind: Condition
    reason: str
    message: str


def complete(reason: str, message: str) -> Verdict:
    return Verdict(Condition.COMPLETE, reason, message)


def failed(reason: str, message: str) -> Verdict:
    return Verdict(Condition.FAILED, reason, message)
