"""Whatever keeps a job from starting, `kubectl get` says what it is, in the words of who knows."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

import pytest

from tests.e2e.causes import CAUSES, Cause
from tests.e2e.jobs import ROOT, Job, digits, until
from tests.e2e.release import Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(1200)
PAGE = ROOT / "docs" / "reference" / "causes.md"
AT_ONCE = 6
HEAD = """\
# Why a job does not start

Each of these was provoked on a cluster of two nodes (`tests/e2e/test_causes.py` writes this page). The sentence
stands in `status.message` (`kubectl get asgdjobs -o wide`), in the condition, and in an event.

| what is wrong | reason | what the job says |
|---|---|---|
"""


def test_each_cause_stands_on_the_job_in_one_sentence(release: Release) -> None:
    rows, wrong = [], []
    for first in range(0, len(CAUSES), AT_ONCE):
        some = CAUSES[first : first + AT_ONCE]
        jobs = [(cause, _applied(release, cause)) for cause in some]
        for cause, job in jobs:
            reason, message = _settled(cause, job)
            rows.append(f"| {cause.what} | `{reason}` | {_cell(message)} |")
            if not _right(cause, reason, message):
                wrong.append(f"{cause.name}: {cause.reason} {cause.words} was told as {reason}: {message}")
            elif not _told(cause, job):
                wrong.append(f"{cause.name}: no event says {cause.words}: {_events(job)}")
        for _, job in jobs:
            job.run("delete", "namespace", job.namespace, "--wait=false")
    assert not wrong, "\n".join(wrong)
    page = HEAD + "\n".join(rows) + "\n"
    if os.environ.get("ASGD_WRITE_PAGES"):
        PAGE.write_text(page, encoding="utf-8")
    told = [line.split("|")[1:3] for line in PAGE.read_text(encoding="utf-8").splitlines() if "`" in line]
    missing = [row for row in rows if row.split("|")[1:3] not in told]
    assert not missing, f"{PAGE.name} is out of date (ASGD_WRITE_PAGES=1 writes it anew): {missing}"


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
