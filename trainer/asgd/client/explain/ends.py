"""Containers that ended badly: out of memory, the user's own code, a program's exit code. Pure."""

from __future__ import annotations

import json
import re

from asgd import exitcodes
from asgd.client.explain.facts import BLOCKS, Facts, named
from asgd.client.explain.kinds import Found, Kind
from asgd.client.explain.words import clause, line

ANEW = ", and apply the job anew"
_SIZES = re.compile(r"^(\d+)(Ki|Mi|Gi|Ti|k|M|G|T|)$")


def ended(facts: Facts, message: str) -> Found:
    """Of a sentence that names a pod and tells how it ended."""
    text = clause(message)
    block = BLOCKS[facts.role(text)]
    if "OOMKilled" in text:
        return out_of_memory(facts, text, block)
    again = ANEW if over(facts) else ""
    found = re.search(r"\bspec\.([a-z]\w*(?:\.\w+)*)", text)
    pod, code = _pod(facts, text), _code(text)
    look = (
        facts.log(pod) if pod else facts.kubectl("logs", "-l", f"asgd.dev/job-name={facts.name}", "--tail=50")
    )
    if found:
        path = found[1]
        return Found(Kind.ENTRYPOINT, text, f"{_mend(facts, text, path)}{again}.", facts.change(path), path)
    if code == exitcodes.DIVERGED:
        return diverged(facts, text)
    if code == exitcodes.FENCED:
        fix = "Give each job a store of its own in checkpoint.uri: another run writes to this one."
        return Found(Kind.CRASH, text, fix, facts.change("checkpoint.uri"), "checkpoint.uri")
    what = "in your code or its image" if block == "workers" else "as its log tells"
    return Found(
        Kind.CRASH, text, f"Mend what {pod or 'the container'} says last, {what}{again}.", look,
        "entrypoint" if block == "workers" else "",
    )  # fmt: skip


def _mend(facts: Facts, text: str, path: str) -> str:
    """What to do about a field of the spec that a program minds, without the full stop."""
    value = facts.at(path)
    shown = f" ({value})" if isinstance(value, str | int | float) and value != "" else ""
    if path != "entrypoint":
        return f"Mend {named(path)}{shown}"
    if missing := re.search(r"no module named '([^']+)'", text, re.IGNORECASE):
        where = f"bring the module {missing[1]} into the image or spec.source, or mend spec.entrypoint{shown}"
        return where[0].upper() + where[1:]
    return f"Mend the code of spec.entrypoint{shown}"


def out_of_memory(facts: Facts, text: str, block: str) -> Found:
    """Killed by the kernel at the container's limit."""
    path = f"{block}.resources.limits.memory"
    now = str(facts.at(path) or "")
    text = re.sub(r"; raise \S+$", "", text)
    more = _twice(now)
    again = ANEW if over(facts) else ""
    fix = f"Raise {path}{f' ({now} now)' if now else ''}{again}."
    command = facts.change(path)
    if more and not over(facts):
        change = {"runPolicy": {"suspend": True}, block: {"resources": {"limits": {"memory": more}}}}
        patch = facts.kubectl(
            "patch",
            "asgdjob",
            facts.name,
            "--type=merge",
            "-p",
            json.dumps({"spec": change}, separators=(",", ":")),
        )
        command = f"{patch} && {facts.own('resume')}"
    return Found(Kind.OUT_OF_MEMORY, text, fix, command, path)


def diverged(facts: Facts, text: str) -> Found:
    """Losses or gradients left all bounds."""
    rate = facts.at("optimizer.learningRate")
    return Found(
        Kind.DIVERGED, text,
        f"Lower optimizer.learningRate{f' ({rate} now)' if rate is not None else ''}, clip by optimizer.clipNorm, or"
        f" set onDivergence: Rollback{ANEW}.",
        facts.anew, "optimizer.learningRate",
    )  # fmt: skip


def not_joined(facts: Facts, message: str) -> Found:
    """A process that runs and is not ready: its last printed line says where it stands."""
    text = clause(re.sub(r"; see `kubectl logs [^`]*`", "", message))
    pod = _pod(facts, text)
    said = line((facts.logs.get(pod) or "").strip().rpartition("\n")[2])
    text = f'{text}; the last line of its log is "{said}"' if said else text
    where = "entrypoint" if facts.role(text) == "worker" else ""
    what = "the entrypoint waits, downloads or compiles there" if where else "it loads its checkpoint there"
    return Found(
        Kind.NOT_JOINED, text, f"Read where the log of {pod or 'the pod'} ends: {what}.",
        facts.log(pod) if pod else facts.kubectl("get", "pods"), where,
    )  # fmt: skip


def over(facts: Facts) -> bool:
    """The job itself has failed: it can only be applied anew."""
    return facts.holds("Failed")


def _pod(facts: Facts, text: str) -> str:
    found = re.search(rf"(?<![\w-]){re.escape(facts.name)}-(?:server|worker|evaluator)-[\w-]*\w", text)
    return found[0] if found else ""


def _code(text: str) -> int | None:
    found = re.search(r"(?:exit code|exited with) (\d+)", text)
    return int(found[1]) if found else None


def _twice(amount: str) -> str:
    found = _SIZES.match(amount)
    return f"{2 * int(found[1])}{found[2]}" if found else ""
