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
    return of(facts, facts.reason("Failed"), facts.message("Failed"))


def of(facts: Facts, reason: str, message: str) -> Found:
    """Of a job that has failed by a reason of the condition Failed."""
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
        return _plain(facts, Kind.DEADLINE, text, f"Raise {path}{ends.ANEW}", path, goes_on=True)
    if reason == "EvaluationFailed":
        return _plain(
            facts,
            Kind.EVALUATION_FAILED,
            text,
            f"Mend evaluate in the code of spec.entrypoint{ends.ANEW}",
            "entrypoint",
        )
    return _plain(facts, Kind.UNKNOWN, f"{text} ({reason})", f"Mend what it says{ends.ANEW}", "")


def _spent(facts: Facts, reason: str, text: str) -> Found:
    """A budget of restarts is used up: the last end explains it."""
    servers = reason == "ParameterServerBackoffExceeded"
    last = _last(facts, "server" if servers else "worker", text)
    if not last:
        fix = "Mend why they end, which their logs say, and apply the job anew."
        kind = Kind.SERVERS_SPENT if servers else Kind.CRASH
        return Found(kind, text, fix, facts.own("events"), _BUDGETS[reason])
    found = ends.ended(facts, last)
    kind = Kind.SERVERS_SPENT if servers and found.kind is Kind.CRASH else found.kind
    known = "the last one: " in text
    told = text if known else f"{text}; the last one: {found.text}"
    return Found(kind, told, found.fix, found.command, found.field)


def _last(facts: Facts, role: str, text: str) -> str:
    """How the last of this role ended: by the verdict, or by the condition, which stays as it was at the end."""
    if found := re.search(r"; the last one: (.*)", text):
        return found[1]
    condition = "ParameterServersReady" if role == "server" else "WorkersReady"
    return facts.message(condition) if facts.reason(condition) == "CrashLoop" else ""


def _startup(facts: Facts, text: str) -> Found:
    head, _, why = text.partition(" s: ")
    found = troubles.quoted(facts, why) if why else None
    if found is None:
        path = "runPolicy.startupDeadlineSeconds"
        fix = f"Mend what was missing, or raise {path}{ends.ANEW}"
        return _plain(facts, Kind.DEADLINE, text, fix, path)
    anew = ends.ANEW
    fix = found.fix if anew in found.fix else f"{found.fix.rstrip('.')}{anew}."
    return Found(found.kind, f"{head} s: {found.text}", fix, found.command, found.field)


def _plain(facts: Facts, kind: Kind, text: str, fix: str, path: str, *, goes_on: bool = False) -> Found:
    stored = goes_on and (facts.at("checkpoint.uri") or facts.at("checkpoint.volume"))
    more = ": it goes on from its checkpoint" if stored else ""
    return Found(kind, text, f"{fix}{more}.", facts.anew, path)
