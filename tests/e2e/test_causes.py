"""Whatever keeps a job from starting or hampers it: `kubectl get` says what, `kubectl asgd explain` what to do."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

import pytest

from tests.e2e.causes import CAUSES, Cause
from tests.e2e.explained import amiss, explained
from tests.e2e.hampered import HAMPERED, SILENT
from tests.e2e.jobs import ROOT, Job, digits, until
from tests.e2e.release import Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(1200)
PAGE = ROOT / "docs" / "reference" / "causes.md"
TRANSCRIPT = ROOT / "docs" / "how-to" / "explain.md"
AT_ONCE = 6
HEAD = """\
# Why a job does not start, or is slow

Each of these was provoked on a cluster of two nodes (`tests/e2e/test_causes.py` writes this page). The sentence
stands in `status.message` (`kubectl get asgdjobs -o wide`), in the condition, and in an event. The last column is the
verdict and the fix of [`kubectl asgd explain`](../how-to/explain.md).

| what is wrong | reason | what the job says | `kubectl asgd explain` says |
|---|---|---|---|
"""
MARK = "<!-- below: written by tests/e2e/test_causes.py -->\n"


def test_each_cause_stands_on_the_job_in_one_sentence_and_is_explained_with_its_fix(release: Release) -> None:
    causes = (*CAUSES, *HAMPERED)
    rows, told, wrong = [], [], []
    for first in range(0, len(causes), AT_ONCE):
        some = causes[first : first + AT_ONCE]
        jobs = [(cause, _applied(release, cause)) for cause in some]
        for cause, job in jobs:
            reason, message = _settled(cause, job)
            answer = _explained(release, cause, job)
            rows.append(f"| {cause.what} | `{reason}` | {_cell(message)} | {_cell(_fixed(answer))} |")
            told.append(_transcript(cause, answer))
            if not _right(cause, reason, message):
                wrong.append(f"{cause.name}: {cause.reason} {cause.words} was told as {reason}: {message}")
            elif cause.name not in SILENT and not _told(cause, job):
                wrong.append(f"{cause.name}: no event says {cause.words}: {_events(job)}")
            if fault := amiss(cause, answer):
                wrong.append(f"{cause.name}: {fault}")
        for _, job in jobs:
            job.run("delete", "namespace", job.namespace, "--wait=false")
    assert not wrong, "\n".join(wrong)
    page = HEAD + "\n".join(rows) + "\n"
    if os.environ.get("ASGD_WRITE_PAGES"):
        PAGE.write_text(page, encoding="utf-8")
        before, _, _ = TRANSCRIPT.read_text(encoding="utf-8").partition(MARK)
        TRANSCRIPT.write_text(f"{before}{MARK}\n" + "\n".join(told), encoding="utf-8")
    known = [
        _columns(line)
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and "`" in line
    ]
    missing = [row for row in rows if _columns(row) not in known]
    assert not missing, f"{PAGE.name} is out of date (ASGD_WRITE_PAGES=1 writes it anew): {missing}"


def _columns(row: str) -> list[str]:
    """What stays the same from run to run: names of pods do not."""
    what, reason, _, fixed = row.replace("\\|", "").strip().strip("|").split(" | ")
    return [what, reason, fixed.partition(":")[0]]


def _explained(release: Release, cause: Cause, job: Job) -> dict[str, Any]:
    """What `kubectl asgd explain` says as soon as it is right, or in the end: it may have to see some steps first."""
    answers: list[dict[str, Any]] = [{}]

    def right() -> bool:
        answers.append(explained(job, str(release.cluster.kubeconfig)))
        return not amiss(cause, answers[-1])

    with suppress(AssertionError):
        until(right, cause.what, seconds=30)
    return answers[-1]


def _fixed(answer: dict[str, Any]) -> str:
    return f"**{answer['verdict']}**: {answer['fix']}"


def _transcript(cause: Cause, answer: dict[str, Any]) -> str:
    lines = [
        f"$ kubectl asgd explain {cause.name}",
        answer["sentence"],
        f"Fix: {answer['fix']}",
        f"  {answer['command']}",
    ]
    return f"{cause.what[0].upper()}{cause.what[1:]}:\n\n```\n" + "\n".join(lines) + "\n```\n"


def _applied(release: Release, cause: Cause) -> Job:
    job = release.job(cause.name)
    for document in cause.before:
        release.kubectl.apply(document, namespace=job.namespace)
    plain: dict[str, Any] = {"parameterServer": {"shards": 1}, "workers": {"replicas": 1}}
    return job.apply(digits(**(plain | cause.spec)))


def _settled(cause: Cause, job: Job) -> tuple[str, str]:
    """What the job says as soon as it is right, or in the end."""
    seen: list[tuple[str, str]] = [("", "")]

    def right() -> bool:
        status = job.status
        seen.append((status.get("reason", ""), status.get("message", "")))
        return _right(cause, *seen[-1])

    with suppress(AssertionError):
        until(right, cause.what, seconds=300)
    return seen[-1]


def _right(cause: Cause, reason: str, message: str) -> bool:
    return reason == cause.reason and all(word in message for word in cause.words)


def _told(cause: Cause, job: Job) -> bool:
    """NB: events follow the status that they tell of."""
    with suppress(AssertionError):
        until(lambda: any(all(word in said for word in cause.words) for said in _events(job)), "told", 30)
        return True
    return False


def _events(job: Job) -> list[str]:
    items = json.loads(job.run("get", "events", "-o", "json"))["items"]
    return [item["message"] for item in items if item["involvedObject"]["kind"] == "AsgdJob"]


def _cell(message: str) -> str:
    return message.replace("|", "\\|").replace("\n", " ")
