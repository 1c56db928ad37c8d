"""Why a job has failed, by the reason of its condition Failed. Pure."""

from __future__ import annotations

import re

from asgd.client.explain import ends, troubles
from asgd.client.explain.facts import Facts
from asgd.client.explain.kinds import Found, Kind
from asgd.client.explain.words import clause

_BUDGETS = {
    "WorkerBackoffExceeded": "workers.backoffLimitPerIndex",
    "ParameterServerBackoffExceeded": "parameterServer.backoffLimit",
}


def failed(facts: Facts) -> Found:
    """Of a job whose condition Failed holds."""
    reason, message = facts.reason("Failed"), facts.message("Failed")
    text = clause(message)
    if reason == "Diverged":
        return ends.diverged(facts, text)
    if reason == "FatalExitCode":
        return ends.ended(facts, message)
    if reason in _BUDGETS:
        return _spent(facts, reason, text)
    if reason == "StartupDeadlineExceeded":
        return _startup(facts, text)
    if reason == "DeadlineExceeded":
        path = "runPolicy.activeDeadlineSeconds"
        return _plain(facts, Kind.DEADLINE, text, f"Raise {path} and apply the job anew", path, goes_on=True)
    if reason == "EvaluationFailed":
        return _plain(
            facts, Kind.EVALUATION_FAILED, text, "Mend Task.evaluate and apply the job anew", "entrypoint"
        )
    return _plain(facts, Kind.UNKNOWN, f"{text} ({reason})", "Mend what it says and apply the job anew", "")


def _spent(facts: Facts, reason: str, text: str) -> Found:
    """A budget of restarts is used up: the last end explains it."""
    role = "worker" if reason == "WorkerBackoffExceeded" else "server"
    block = facts.status.get("lastFailure", {})
    last = re.search(r"; the last one: (.*)", text)
    if last and "OOMKilled" in last[1]:
        return ends.out_of_memory(facts, text, "workers" if role == "worker" else "parameterServer")
    if last:
        found = ends.ended(facts, last[1])
        kind = found.kind if found.kind is not Kind.CRASH or role == "worker" else Kind.SERVERS_SPENT
        return Found(kind, text, found.fix, found.command, found.field)
    command = facts.log(str(block["pod"])) if block.get("role") == role else facts.kubectl("get", "events")
    fix = "Mend why they fail, which their logs say, and apply the job anew."
    return Found(Kind.CRASH if role == "worker" else Kind.SERVERS_SPENT, text, fix, command, _BUDGETS[reason])


def _startup(facts: Facts, text: str) -> Found:
    head, _, why = text.partition(" s: ")
    found = troubles.quoted(facts, why) if why else None
    if found is None:
        path = "runPolicy.startupDeadlineSeconds"
        return _plain(
            facts,
            Kind.DEADLINE,
            text,
            f"Mend what was missing, or raise {path}, and apply the job anew",
            path,
        )
    fix = (
        found.fix
        if "apply the job anew" in found.fix
        else f"{found.fix.rstrip('.')}, and apply the job anew."
    )
    return Found(found.kind, f"{head} s: {found.text}", fix, found.command, found.field)


def _plain(facts: Facts, kind: Kind, text: str, fix: str, path: str, *, goes_on: bool = False) -> Found:
    stored = goes_on and (facts.at("checkpoint.uri") or facts.at("checkpoint.volume"))
    more = ": it goes on from its checkpoint" if stored else ""
    return Found(kind, text, f"{fix}{more}.", facts.anew, path)
