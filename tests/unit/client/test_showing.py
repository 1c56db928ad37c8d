"""What lists and pages look like: text of documents, without any cluster."""

from __future__ import annotations

from datetime import datetime
from textwrap import dedent
from typing import Any

import pytest
from msgspec.structs import replace

from asgd.client.show import closing, events, listing, page, top
from asgd.client.show.ages import age
from asgd.client.show.table import table
from asgd.spec.durations import Durations
from asgd.spec.status import ShardView, StalenessView, Status, WorkerTimes, WorkerView
from tests.unit.client.cluster import NOW, condition, ended, job, pod

AT = datetime.fromisoformat(NOW.replace("Z", "+00:00"))
TRAINING = {
    "updates": 1240,
    "samples": 39680,
    "samplesPerSecond": 8412.4,
    "loss": 0.0841,
    "progressPercent": 42,
    "stalenessP50": 3,
    "stalenessP99": 12,
    "metrics": {"accuracy": 0.98},
    "observedTime": "2026-01-01T00:09:50Z",
}


def told(**changes: Any) -> Status:
    spent = Durations()
    spent.add(0.02)
    times = WorkerTimes(own=spent.told())
    workers = [
        WorkerView(
            0, "running", 1.0, samples=300, samples_per_second=100.0, times=times, pushes=10, lane="tcp"
        ),
        WorkerView(
            1, "running", 1.0, samples=100, samples_per_second=30.0, pushes=5, staleness_total=20, loss=0.5
        ),
        WorkerView(2, "lost", 1.0, ended=4.0, samples=1),
    ]
    status = Status(
        job="digits",
        phase="running",
        algorithm="asgd",
        updates=15,
        samples=400,
        seconds=10.0,
        samples_per_second=130.0,
        updates_per_second=1.5,
        staleness=StalenessView(mean=1.5, p50=1, p99=4, max=4),
        workers=workers,
        shards=[ShardView(version=15, term=1, busy_seconds=2.0, sent=1500, received=2_000_000)],
    )
    return replace(status, **changes)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (190, "3m10s"), (300, "5m"), (4500, "75m"), (19200, "5h20m"), (90000, "25h"),
     (183600, "2d3h"), (864000, "10d"), (-5, "<invalid>")],
)  # fmt: skip
def test_ages_are_spelled_as_kubectl_spells_them(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_columns_are_as_wide_as_their_widest_cell_and_nothing_is_none() -> None:
    assert table(("A", "LONG"), [("xyz", None), ("", 1)]) == "A        LONG\nxyz      <none>\n<none>   1"
    assert table(("", ""), [(1, 2)]) == "1   2"


def test_list_shows_a_line_a_job_by_name() -> None:
    jobs = [
        job("b", training=TRAINING, workers={"ready": 3}, reason="TrainingProgressing"),
        job("a", phase="Invalid"),
    ]
    assert listing.listing(jobs, AT) == dedent(
        """\
        NAME   PHASE     REASON                WORKERS   PROGRESS   UPDATES   SAMPLES/S   LOSS     AGE
        a      Invalid   <none>                0/4       <none>     <none>    <none>      <none>   10m
        b      Running   TrainingProgressing   3/4       42%        1240      8,412       0.0841   10m"""
    )
    wide = listing.listing(jobs, AT, wide=True, namespaces=True, head=False)
    assert "accuracy=0.98" in wide and wide.startswith("team   a") and "NAME" not in wide


def test_a_document_is_printed_without_managed_fields_and_many_as_a_list() -> None:
    assert "managedFields" not in listing.as_yaml([job()], many=False)
    assert listing.as_yaml([job()], many=True).startswith("apiVersion: v1\nkind: List")
    assert listing.as_names([job()]) == "asgdjob.asgd.dev/digits"


def test_status_says_the_trouble_first_and_ends_with_what_to_type_next() -> None:
    document = job(
        message="2 of 4 workers are ready.",
        conditions=[
            condition("Running"),
            condition("Degraded", reason="WorkerHung", message="Worker 3 hangs."),
        ],
        training=TRAINING,
        workers={"ready": 2, "restarts": 1},
        parameterServer={"ready": 1},
        lastFailure={
            "pod": "p-1",
            "reason": "OOMKilled",
            "exitCode": 137,
            "finishedAt": "2026-01-01T00:08:00Z",
        },
    )
    text = page.page(document, [pod("worker", 1), pod("server")], [], None, AT)
    lines = text.splitlines()
    assert lines[:4] == [
        "team/digits  Running  10m old",
        "2 of 4 workers are ready.",
        "Degraded=True, WorkerHung: Worker 3 hangs.",
        "last failure: p-1 2m ago (OOMKilled, exit code 137)",
    ]
    assert "training   1,240 updates, 39,680 samples, 8,412 samples/s, loss 0.0841 (10s ago)" in lines
    assert "workers    2 of 4 take part, 1 restarts" in lines
    assert "checkpoint none yet" in lines
    assert text.index("digits-server-0") < text.index("digits-worker-1")
    assert lines[-1] == "watch      kubectl asgd top digits -w; kubectl asgd logs digits -f"


def test_the_number_that_autoscaling_has_set_is_shown_with_its_reason_and_what_waits() -> None:
    found = {"workers": 8, "start": 4, "reason": "8 workers would train on 2.0 times as many samples"}
    document = job(workers={"ready": 7, "desired": 8, "autoscale": found})
    document["spec"]["workers"]["autoscale"] = {"min": 2, "max": 8}
    lines = page.page(document, [], [], None, AT).splitlines()
    assert "workers    7 of 8 take part" in lines
    assert "autoscale  2 to 8; 8: 8 workers would train on 2.0 times as many samples" in lines
    assert "7/8" in listing.listing([document], AT)
    found["pending"] = {"workers": 6, "since": "2026-01-01T00:09:00Z"}
    assert page.page(document, [], [], None, AT).count("; 6 advised for 60s") == 1
    assert "the queue" not in page.page(document, [], [], None, AT)
    found["granted"] = 4
    assert "; the queue lets 4 of them start so far; 6 advised" in page.page(document, [], [], None, AT)
    del document["status"]["workers"]["autoscale"]
    assert "autoscale  2 to 8; no number yet" in page.page(document, [], [], None, AT)


def test_status_prefers_what_shard_0_says_now() -> None:
    status = told(progress=0.25, eta_seconds=75.0, metrics={"accuracy": 0.9}, metrics_at_updates=12)
    text = page.page(job(training=TRAINING), [], [], status, AT)
    assert "training   15 updates, 400 samples in 10.0s, 130 samples/s" in text
    assert "metrics    accuracy 0.9 at update 12" in text
    assert "staleness  mean 1.5, p50 1, p99 4, max 4" in text
    assert "1,240" not in text


def test_a_job_that_has_ended_offers_its_model_only_where_there_is_one() -> None:
    kept = ended()
    kept["spec"]["checkpoint"] = {"uri": "file:///checkpoints", "volume": {"pvc": "models"}}
    assert page.page(kept, [], [], None, AT).endswith("model      kubectl asgd model digits")
    assert "gone with its servers" in page.page(ended(), [], [], None, AT)
    assert "kubectl asgd explain digits" in page.page(ended(end="Failed"), [], [], None, AT)
    assert "gone with its servers" in closing.closing(ended(training=TRAINING))
    assert closing.closing(kept).endswith("model      kubectl asgd model digits")


def test_top_shows_rate_share_and_staleness_of_each_worker_that_takes_part() -> None:
    rows = top.workers_table(told()).splitlines()
    assert rows[1].split() == ["0", "running", "100", "75%", "10", "0.0", "22ms", "-", "-", "tcp", "<none>"]
    assert rows[2].split() == ["1", "running", "30", "25%", "5", "4.0", "-", "-", "0.5", "<none>", "<none>"]
    assert len(rows) == 3 and len(top.workers_table(told(), gone=True).splitlines()) == 4
    assert top.workers_table(told(), sort="staleness").splitlines()[1].startswith("1")
    assert top.shards_table(told()).splitlines()[1].split()[:6] == ["0", "15", "1", "yes", "20%", "0"]


def test_top_names_workers_that_are_rejected_stalled_or_wait() -> None:
    workers = told().workers
    status = told(
        rejected_workers=[0],
        workers=[workers[0], replace(workers[1], waits="others"),
                 replace(workers[1], index=3, state="stalled", idle_seconds=9.0)],
    )  # fmt: skip
    text = top.workers_table(status)
    assert "rejected" in text and "waits: others" in text and "stalled 9.0s" in text


def test_events_of_a_job_are_its_own_and_its_childrens_oldest_first() -> None:
    def event(uid: str, at: str, **more: Any) -> dict[str, Any]:
        return {"involvedObject": {"uid": uid, "kind": "Pod", "name": uid}, "lastTimestamp": at, "reason": at[14:16],
                "metadata": {"uid": at}, "message": "m\nn", **more}  # fmt: skip

    found = [event("uid-digits", "2026-01-01T00:09:00Z", count=3), event("other", "2026-01-01T00:01:00Z"),
             event("uid-p", "2026-01-01T00:05:00Z")]  # fmt: skip
    mine = events.of_job(found, job(), [{"metadata": {"uid": "uid-p"}}])
    assert [each["reason"] for each in mine] == ["05", "09"]
    shown = events.events_table(mine, AT).splitlines()
    assert shown[1].startswith("5m") and shown[2].startswith("60s (x3)") and "m n" in shown[1]


def test_closing_lines_say_what_was_reached_and_how_it_ended() -> None:
    text = closing.closing(ended(training=TRAINING, checkpoint={"lastUri": "s3://b/9", "lastUpdates": 1240}))
    assert text.splitlines()[0] == "reached    accuracy 0.98, loss 0.0841, 1,240 updates, 39,680 samples"
    assert "stopped    TargetReached: The stop rule epochs is met" in text
    assert "checkpoint of update 1,240: s3://b/9" in text
