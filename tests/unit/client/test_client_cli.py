"""`kubectl asgd` as it is typed: what it prints, what it asks of the cluster, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asgd.client.cli import main, parser, settled
from asgd.client.completion import FILES, NO_FILES, candidates
from asgd.spec.status import Status
from tests.unit.client.cluster import Cluster, condition, ended, job, pod

Printed = pytest.CaptureFixture[str]


def run(cluster: Cluster, *words: str) -> int:
    return main(words, cluster.access)


def changes(cluster: Cluster) -> list[tuple[str, str, Any]]:
    return [
        (method, path.rpartition("/")[2], body) for method, path, body in cluster.asked if method != "GET"
    ]


def test_list_prints_jobs_and_says_when_there_are_none(capsys: Printed) -> None:
    assert run(Cluster(job(), job("b")), "list", "-o", "name") == 0
    assert capsys.readouterr().out == "asgdjob.asgd.dev/digits\nasgdjob.asgd.dev/b\n"
    assert run(Cluster(), "list") == 0
    assert capsys.readouterr().err == "No resources found in team namespace.\n"
    assert run(Cluster(job()), "list", "digits", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["metadata"]["name"] == "digits"


def test_a_job_that_does_not_exist_is_one_sentence_and_exit_code_1(capsys: Printed) -> None:
    for words in (
        ("status", "x"),
        ("top", "x"),
        ("logs", "x"),
        ("scale", "x", "2"),
        ("stop", "x"),
        ("model", "x"),
        ("replay", "x"),
    ):
        assert run(Cluster(), *words) == 1
        assert capsys.readouterr().err == 'Error from server (NotFound): asgdjobs.asgd.dev "x" not found\n'


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["scale", "Bad_Name", "2"],
            "argument JOB: 'Bad_Name' is no name of a job; allowed are at most 40 lower-case",
        ),
        (["scale", "x", "two"], "argument N: 'two' is no whole number from 0 on"),
        (["wait", "x", "--timeout=soon"], "'soon' is no duration; allowed are such as 90s, 5m and 1h30m"),
        (
            ["wait", "x", "--for=Complete"],
            "'Complete' must be condition=NAME or condition=NAME=False, with NAME one of",
        ),
        (["list", "-o", "xml"], "invalid choice: 'xml'"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_words_are_one_sentence_and_exit_code_2(
    words: list[str], sentence: str, capsys: Printed
) -> None:
    with pytest.raises(SystemExit) as end:
        run(Cluster(), *words)
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert sentence in said and said.startswith("error: ") and len(said.splitlines()) == 2


def test_kubectls_options_may_stand_anywhere() -> None:
    assert settled(["scale", "x", "-n", "team", "2"]) == ["-n", "team", "scale", "x", "2"]
    assert settled(["list", "--context=a", "-A"]) == ["--context=a", "list", "-A"]
    arguments = parser().parse_args(settled(["scale", "asgdjob/x", "--namespace", "team", "2"]))
    assert (arguments.namespace, arguments.name, arguments.workers) == ("team", "x", 2)


def test_scale_goes_through_the_scale_subresource_within_the_jobs_own_bounds(capsys: Printed) -> None:
    cluster = Cluster(job())
    assert run(cluster, "scale", "digits", "6") == 0
    assert changes(cluster) == [("PATCH", "scale", {"spec": {"replicas": 6}})]
    assert capsys.readouterr().out == "asgdjob.asgd.dev/digits scaled from 4 to 6 workers\n"
    assert run(cluster, "scale", "digits", "--replicas=9") == 2
    assert "9 workers are more than spec.workers.maxReplicas of digits, 8" in capsys.readouterr().err
    assert run(cluster, "scale", "digits") == 2


def test_scale_is_refused_where_the_job_sets_the_number_of_its_workers_by_itself(capsys: Printed) -> None:
    document = job()
    document["spec"]["workers"]["autoscale"] = {"min": 2, "max": 8}
    cluster = Cluster(document)
    assert run(cluster, "scale", "digits", "6") == 2 and changes(cluster) == []
    said = capsys.readouterr().err
    assert "is set by workers.autoscale, 2 to 8: edit its min and max, or take it out" in said
    document["spec"]["runPolicy"]["suspend"] = True
    assert run(Cluster(document), "scale", "digits", "6") == 0, "the number to start with again"


def test_suspend_and_resume_change_one_field_and_warn_of_what_would_be_lost(capsys: Printed) -> None:
    cluster = Cluster(job())
    assert run(cluster, "suspend", "digits") == 0
    assert changes(cluster) == [("PATCH", "digits", {"spec": {"runPolicy": {"suspend": True}}})]
    said = capsys.readouterr()
    assert said.out == "asgdjob.asgd.dev/digits suspended\n" and "a resume starts over" in said.err
    assert run(cluster, "suspend", "digits") == 0
    assert "(no change)" in capsys.readouterr().out
    assert run(cluster, "stop", "digits") == 2
    assert "digits is suspended and does not train" in capsys.readouterr().err
    assert run(cluster, "resume", "digits") == 0
    assert run(Cluster(ended()), "resume", "digits") == 2


def test_stop_makes_what_is_reached_the_stop_rule(capsys: Printed) -> None:
    cluster = Cluster(job(training={"updates": 5}))
    assert run(cluster, "stop", "digits") == 0
    assert changes(cluster) == [("PATCH", "digits", {"spec": {"stopAfter": {"updates": 5}}})]
    told = Status(job="digits", phase="running", algorithm="asgd", updates=77)
    cluster.served["digits-server-0"] = msgspec.json.encode(told)
    assert run(cluster, "stop", "digits") == 0
    assert changes(cluster)[-1][2] == {"spec": {"stopAfter": {"updates": 77}}}
    assert run(Cluster(job()), "stop", "digits") == 0, "before its first update it ends at that"


def test_restart_deletes_the_pod_of_that_worker_and_no_other(capsys: Printed) -> None:
    cluster = Cluster(job(), pod("worker", 0), pod("worker", 1), pod("server"))
    assert run(cluster, "restart", "digits", "1") == 0
    ((method, name, body),) = changes(cluster)
    assert (method, name, body["preconditions"]) == (
        "DELETE",
        "digits-worker-1",
        {"uid": "uid-digits-worker-1"},
    )
    assert run(cluster, "restart", "digits", "7") == 2
    assert capsys.readouterr().err == "error: digits has no worker 7 that runs; it has worker 0\n"


def test_logs_say_who_has_said_each_line(capsys: Printed) -> None:
    cluster = Cluster(job(), pod("worker", 0), pod("server"), pod("evaluator"))
    cluster.said = {"digits-worker-0": [b"joined", b"step"], "digits-server-0": [b"listens"]}
    assert run(cluster, "logs", "digits") == 0
    assert capsys.readouterr().out == "server 0  | listens\nworker 0  | joined\nworker 0  | step\n"
    assert run(cluster, "logs", "digits", "--worker", "0", "--tail", "1") == 0
    assert capsys.readouterr().out == "step\n"
    assert run(cluster, "logs", "digits", "--worker", "3") == 2
    assert "digits has no such pod with a log; it is Running" in capsys.readouterr().err
    cluster.put(ended())
    assert run(cluster, "logs", "digits", "-f", "--role", "worker") == 0
    assert capsys.readouterr().out == "worker 0  | joined\nworker 0  | step\n"


@pytest.mark.parametrize(
    ("end", "reason", "code"),
    [("Complete", "TargetReached", 0), ("Failed", "Diverged", 78), ("Failed", "Odd", 1)],
)
def test_wait_ends_as_asgd_run_would_have(end: str, reason: str, code: int, capsys: Printed) -> None:
    assert run(Cluster(ended(end=end, reason=reason)), "wait", "digits") == code
    assert capsys.readouterr().out.startswith(f"digits is {end} ({reason}): ")


def test_wait_for_a_condition_that_holds_returns_at_once(capsys: Printed) -> None:
    assert (
        run(Cluster(job(conditions=[condition("Running")])), "wait", "digits", "--for=condition=running") == 0
    )
    assert run(Cluster(ended()), "wait", "digits", "--for=condition=Suspended") == 1
    assert "is Complete (TargetReached) and will not become Suspended=True" in capsys.readouterr().err


def test_top_falls_back_on_the_operators_figures(capsys: Printed) -> None:
    assert run(Cluster(job(training={"updates": 5, "loss": 0.5})), "top", "digits") == 0
    said = capsys.readouterr()
    assert said.out == "updates 5  loss 0.5\n"
    assert said.err == "shard 0 cannot be asked, digits is Running: there is no pod digits-server-0\n"


def test_open_needs_a_pod_with_a_port_named_page(capsys: Printed) -> None:
    assert run(Cluster(job(), pod("server")), "open", "digits") == 2
    assert "no container of its shard 0 serves a port named page" in capsys.readouterr().err


def test_submit_makes_the_job_and_numbers_a_name_that_is_taken(tmp_path: Path, capsys: Printed) -> None:
    (tmp_path / "train.py").write_text("def task(): ...\n")
    cluster = Cluster(job("train"))
    assert (
        run(cluster, "submit", str(tmp_path / "train.py"), "--workers", "2", "--checkpoints", "models") == 0
    )
    method, _, body = changes(cluster)[-1]
    assert (method, body["metadata"]["name"]) == ("POST", "train-2")
    assert body["spec"]["checkpoint"] == {"uri": "file:///checkpoints", "volume": {"pvc": "models"}}
    said = capsys.readouterr()
    assert said.out.startswith("asgdjob.asgd.dev/train-2 created\n") and "Warning" not in said.err
    assert run(cluster, "submit", str(tmp_path / "train.py"), "--name", "train") == 1
    said = capsys.readouterr()
    assert "already exists; choose another name by --name, or delete it" in said.err
    assert "Warning: its checkpoints and its model go with its pods" in said.err


def test_submit_refuses_what_the_api_server_would_refuse_with_its_line(
    tmp_path: Path, capsys: Printed
) -> None:
    (tmp_path / "train.py").write_text("def task(): ...\n")
    cluster = Cluster()
    assert run(cluster, "submit", str(tmp_path / "train.py"), "--set", "batchSise=3") == 2
    assert "spec.batchSise: unknown field; did you mean batchSize?" in capsys.readouterr().err
    assert changes(cluster) == []


def test_submit_asks_for_a_recording_and_says_where_none_can_be_replayed(
    tmp_path: Path, capsys: Printed
) -> None:
    (tmp_path / "train.py").write_text("def task(): ...\n")
    words, kept = ("submit", str(tmp_path / "train.py"), "--record", "logs"), ("--checkpoints", "models")
    cluster = Cluster()
    assert run(cluster, *words) == 2
    assert "spec.record: needs checkpoints that outlive the pods" in capsys.readouterr().err
    assert run(cluster, *words, *kept) == 0
    assert changes(cluster)[-1][2]["spec"]["record"] == {"pvc": "logs"}
    assert capsys.readouterr().err == ""
    assert run(cluster, *words, *kept, "--set", "workers.devices.count=1") == 0
    assert (
        "Warning: spec.record: the recording cannot be replayed: it computes on GPUs"
        in capsys.readouterr().err
    )


def test_the_namespace_of_a_file_must_be_the_one_that_is_asked_for(tmp_path: Path, capsys: Printed) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        "{apiVersion: asgd.dev/v1alpha1, kind: AsgdJob, metadata: {name: a, namespace: b}, spec: {entrypoint: 'm:f'}}"
    )
    assert run(Cluster(), "submit", str(file), "-n", "c") == 2
    assert "the namespace of the job, 'b', does not match --namespace=c" in capsys.readouterr().err
    cluster = Cluster()
    assert run(cluster, "submit", str(file)) == 0
    assert cluster.asked[-1][1].startswith("/apis/asgd.dev/v1alpha1/namespaces/b/")


def test_render_prints_what_the_operator_would_make_without_a_cluster(
    tmp_path: Path, capsys: Printed
) -> None:
    (tmp_path / "train.py").write_text("def task(): ...\n")
    assert main(["render", str(tmp_path / "train.py")], lambda **_: pytest.fail("no cluster is asked")) == 0
    assert "kind: StatefulSet" in capsys.readouterr().out


def complete(*words: str) -> tuple[list[str], int]:
    found, directive = candidates(words, parser(), lambda given: ["digits", f"in-{given.namespace}"])
    return [each.partition("\t")[0] for each in found], directive


def test_tab_completes_commands_options_choices_and_jobs() -> None:
    assert complete("su") == (["submit", "suspend"], NO_FILES)
    assert complete("status", "") == (["digits", "in-None"], NO_FILES)
    assert complete("status", "-n", "team", "in") == (["in-team"], NO_FILES)
    assert complete("status", "digits", "") == ([], NO_FILES)
    assert complete("list", "-o", "") == (["wide", "json", "yaml", "name"], NO_FILES)
    assert complete("logs", "digits", "--ti") == (["--timestamps"], NO_FILES)
    assert complete("submit", "tr") == ([], FILES)
    assert complete("completion", "b") == (["bash"], NO_FILES)


def test_the_client_starts_without_torch_and_without_the_cluster_client() -> None:
    code = (
        "import sys, asgd.client, asgd.client.cli, asgd.client.call, asgd.client.run, asgd.client.aio\n"
        "assert asgd.client.submit and asgd.client.Run\n"
        "asgd.client.cli.parser()\n"
        "print([name for name in ('torch', 'zmq', 'kubernetes', 'kopf') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


def test_what_needs_no_cluster_needs_no_kubeconfig(tmp_path: Path, capsys: Printed) -> None:
    def nowhere(**_: Any) -> Any:
        raise AssertionError("a cluster was asked for")

    file = tmp_path / "train.py"
    file.write_text("def task():\n    pass\n")
    assert main(["submit", str(file), "--dry-run=client", "-o", "name"], nowhere) == 0
    assert capsys.readouterr().out == "asgdjob.asgd.dev/train\n"
    assert main(["validate", str(file), "--offline"], nowhere) == 0
    assert capsys.readouterr().out == f"{file}: ok (train)\n"
    with pytest.raises(AssertionError, match="a cluster was asked for"):
        main(["submit", str(file), "--dry-run=server"], nowhere)
