"""The first thing on the page: one sentence, and what is wrong with what to do about it."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from asgd.page.commands import Cluster, Local
from asgd.page.sentence import Seen, findings, headline, trend
from asgd.spec.types import Metric, StopAfter
from tests.unit.page.jobs import Pretended

FALLING = [(float(t), 1.0 - t / 100) for t in range(40)]
FLAT = [(float(t), 0.5) for t in range(40)]
RISING = [(float(t), 0.5 + t / 100) for t in range(40)]
SEEN = Seen(losses=FALLING)


def test_the_line_says_whether_it_learns_how_fast_and_until_when() -> None:
    status = Pretended(seconds=100).status(40.0)
    assert headline(status, SEEN).startswith("It is learning: the loss falls, ")
    assert "samples/s; 40% done, about 1 min 00 s left." in headline(status, SEEN)
    assert headline(status, replace(SEEN, losses=FLAT)).startswith("The loss is flat at ")
    assert headline(status, replace(SEEN, losses=RISING)).startswith(
        "It is not learning now: the loss rises, "
    )


def test_before_the_first_update_the_line_says_what_is_waited_for() -> None:
    status = msgspec.structs.replace(
        Pretended().status(0.0), updates=0, phase="starting", waiting_for="the first push of worker 0"
    )
    said = "Nothing has been learned yet, the job is starting: it waits for the first push of worker 0."
    assert headline(status, Seen()) == said


def test_the_end_is_a_sentence_about_why_and_what_was_reached() -> None:
    job = Pretended(seconds=30)
    last = [status for _, status in job.statuses()][-1]
    assert headline(last, SEEN).startswith("It is done after 28 s and ")
    assert "updates (stop rule: 60 epochs), loss " in headline(last, SEEN)
    diverged = msgspec.structs.replace(last, stop_reason="diverged", stop_detail="worker 1 pushed nan")
    assert headline(diverged, SEEN).startswith("It diverged after 28 s and ")
    (finding,) = findings(diverged, SEEN)
    assert (finding.tone, finding.text, finding.command) == (
        "bad",
        "It diverged: worker 1 pushed nan",
        "again",
    )


def test_a_metric_that_ends_the_job_is_named_with_its_bound() -> None:
    rule = StopAfter(metric=Metric(name="accuracy", at_least=0.98))
    status = msgspec.structs.replace(
        Pretended().status(50.0), stop_after=rule, eta_seconds=None, progress=None
    )
    assert headline(status, SEEN).endswith("; until accuracy >= 0.98.")


def test_a_healthy_job_has_no_finding() -> None:
    assert findings(Pretended().status(50.0), SEEN) == []


def test_each_trouble_is_found_with_what_to_do_and_the_worst_comes_first() -> None:
    job = Pretended(happenings={3: (20.0, "hangs"), 1: (30.0, "dies")})
    status = next(status for t, status in job.statuses() if t == 45.0)
    troubled = msgspec.structs.replace(status, checkpoint_error="the disk is full", refused={"stale": 5000})
    seen = Seen(
        losses=FLAT, shares=(0.1, 0.5, 0.3, 0.1), busy={1: 0.97}, bound=2, heard_ago=9.0, waits={2: [0, 1]}
    )
    found = findings(troubled, seen)
    texts = [finding.text for finding in found]
    assert texts[:3] == [
        "Shard 0 has not answered for 9 s", "Worker 3 makes no progress", "Checkpoints fail: the disk is full"
    ]  # fmt: skip
    for text in (
        "Worker 1 is away",
        "Shard 1 is at its limit: it serves 97% of the time",
        "Workers spend 50% of their time on reading data",
    ):
        assert text in texts
    assert any("of all pushes are refused, most as stale" in text for text in texts)
    bound = "Staleness has reached its bound of 2"
    assert bound not in texts, "that pushes are refused as stale has said so"
    assert bound in [
        finding.text for finding in findings(msgspec.structs.replace(troubled, refused={}), seen)
    ]
    assert all(finding.do.endswith(".") for finding in found)
    assert [finding.tone for finding in found] == sorted(finding.tone for finding in found)


def test_every_command_that_a_finding_names_exists_here_and_on_a_cluster() -> None:
    here, there = Local("runs/my job").told(), Cluster("ml", "digits").told()
    assert here.keys() == there.keys()
    assert here["worker"].format(3) == "tail -n 50 'runs/my job/logs/worker-'3.log"
    assert there["status"] == "kubectl -n ml get asgdjob digits -o wide"


def test_a_trend_needs_some_seconds_of_losses() -> None:
    assert trend(FALLING[:3]) is None
    change = trend(FALLING)
    assert change is not None
    assert -0.5 < change < 0
