"""How sentences of others become a part of one sentence of ours: in one line, bounded, without what is always there."""

from __future__ import annotations

import re

QUOTED_MOST = 300
"""Characters of what others say."""
_COUNTS = re.compile(
    r"^(\d+ of \d+ parameter servers are ready\.|\d+ workers are ready; workers\.minReplicas is \d+\.)\s*"
)
_SCHEDULER = re.compile(r"(\.?\s*(no new claims to deallocate|preemption: )|\.\s+not found\.?$).*", re.DOTALL)
_KINDS = frozenset({"Secret", "Service", "Job"})
_JOINTS = re.compile(r"\.\s+(The last one:|A restart of|It tries again|It is made anew)")


def line(text: str, *, last: bool = False) -> str:
    """`text` in one line, as much of it as a sentence may quote; `last`: of its end."""
    found = " ".join(text.split())
    if len(found) <= QUOTED_MOST:
        return found
    return f"... {found[-QUOTED_MOST:]}" if last else f"{found[:QUOTED_MOST]} ..."


def clause(message: str) -> str:
    """A condition's message as a clause: without the counts before it, without a full stop, from a small letter on."""
    found = _COUNTS.sub("", " ".join(message.split())).rstrip(". ")
    found = _JOINTS.sub(lambda joint: f"; {joint[1][0].lower()}{joint[1][1:]}", found)
    return small(found)


def scheduled(message: str) -> str:
    """The scheduler's sentence without what it adds about preemption and claims."""
    head, _, tail = message.partition(" nodes are available: ")
    return f"{head} nodes are available: {_SCHEDULER.sub('', tail)}".rstrip(". ") if tail else message


def small(text: str) -> str:
    """With a small first letter, unless the first word is a name."""
    first = text.split(" ", 1)[0]
    name = not first.isalpha() or first[1:] != first[1:].lower() or first in _KINDS
    return text if not text or name else text[0].lower() + text[1:]


def full(text: str) -> str:
    """A clause as a sentence."""
    found = text.rstrip()
    return found if found.endswith((".", "!", "?")) else f"{found}."
