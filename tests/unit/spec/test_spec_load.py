"""What a user sees who loads a job file, with and without `--set`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from asgd.errors import UserError
from asgd.spec import Job, JobError, dump_job, job_from_json, load_job
from asgd.spec.validate import main as validate

JOB = """\
apiVersion: asgd.dev/v1alpha1
kind: AsgdJob
metadata: {name: digits}
spec:
  entrypoint: tasks:digits
  args: {hidden: 64}
  workers:
    replicas: 2
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    return path


def refusal(path: Path, *sets: str) -> str:
    with pytest.raises(UserError) as error:
        load_job(path, sets)
    return str(error.value)


def test_set_writes_over_the_file_and_beside_it(job: Path) -> None:
    loaded = load_job(
        job,
        [
            "workers.replicas=8",
            "optimizer.learningRate=5e-2",
            "metadata.name=other",
            "spec.seed=3",
            "args.deep.x=no",
        ],
    )
    assert loaded.spec.workers.replicas == 8
    assert loaded.spec.optimizer.learning_rate == 0.05
    assert loaded.spec.seed == 3
    assert loaded.spec.args == {"hidden": 64, "deep": {"x": False}}
    assert loaded.name == loaded.document["metadata"]["name"] == "other"


def test_the_last_of_several_sets_wins(job: Path) -> None:
    assert load_job(job, ["seed=1", "seed=2"]).spec.seed == 2


def test_set_takes_whole_objects_and_lists(job: Path) -> None:
    loaded = load_job(job, ["stopAfter={updates: 5}", "optimizer={name: adam, betas: [0.8, 0.9]}"])
    assert (loaded.spec.stop_after.updates, loaded.spec.stop_after.epochs) == (5, None)
    assert loaded.spec.optimizer.betas == (0.8, 0.9)


def test_set_reaches_a_key_with_a_dot_by_a_backslash(job: Path) -> None:
    assert load_job(job, [r'source.my\.py="x = 1"']).spec.source == {"my.py": "x = 1"}


def test_setting_nothing_goes_back_to_the_default(job: Path) -> None:
    loaded = load_job(job, ["workers.replicas=", "args=null"])
    assert loaded.spec.workers.replicas == 4
    assert "workers.replicas" not in loaded.given


def test_a_problem_in_the_file_stands_at_its_line_and_one_in_a_set_at_set(job: Path) -> None:
    job.write_text(JOB.replace("replicas: 2", "replicas: 0"))
    assert refusal(job, "batchSize=0").splitlines() == [
        f"{job}:8: spec.workers.replicas: 0 is less than the minimum of 1",
        "--set: spec.batchSize: 0 is less than the minimum of 1",
    ]


def test_a_set_without_a_value_or_with_broken_yaml_is_refused(job: Path) -> None:
    assert refusal(job, "seed") == "--set: 'seed' must be path=value, as workers.replicas=8"
    assert refusal(job, "a..b=3").startswith("--set: 'a..b=3' must be path=value")
    assert refusal(job, "stopAfter={epochs: 3").startswith("--set: spec.stopAfter: is not valid YAML")
    assert refusal(job, "stopAfter={a: 1, a: 2}") == "--set: spec.stopAfter: stands twice"
    assert refusal(job, "entrypoint.x=3") == "--set: spec.entrypoint.x: spec.entrypoint holds no fields"


def test_given_holds_what_the_user_said_and_no_default(job: Path) -> None:
    given = load_job(job, ["checkpoint.restore=None"]).given
    assert given == {
        *("entrypoint", "args", "args.hidden", "workers", "workers.replicas"),
        *("checkpoint", "checkpoint.restore"),
    }


def test_a_missing_file_is_one_clear_sentence(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.yaml").endswith("no.yaml: cannot be read: No such file or directory")


def test_an_empty_file_and_one_without_a_mapping_are_refused(job: Path) -> None:
    job.write_text("# nothing\n")
    assert refusal(job) == f"{job}: must hold exactly one AsgdJob, but none is"
    job.write_text("- a\n- b\n")
    assert refusal(job) == f"{job}: must be a mapping with apiVersion, kind, metadata and spec"


def test_an_alias_inside_its_own_anchor_is_refused_and_does_not_hang(job: Path) -> None:
    job.write_text(JOB.replace("{hidden: 64}", "&loop {again: *loop}"))
    assert "an alias must not stand inside its own anchor" in refusal(job)


def test_texts_that_look_like_other_values_survive_being_written_out(job: Path, tmp_path: Path) -> None:
    texts = [
        "5e-4",
        "y",
        "on",
        "010",
        "1_000",
        "~",
        "",
        ".inf",
        "a: b",
        "two\nlines",
        " edge ",
        "=",
        "0x1F",
        "#",
    ]
    loaded = load_job(job)
    again = tmp_path / "again.yaml"
    document = {
        **loaded.document,
        "spec": {**loaded.document["spec"], "args": {text: text for text in texts}},
    }
    again.write_text(dump_job(Job("digits", "default", loaded.spec, document, frozenset())))
    assert load_job(again).spec.args == {text: text for text in texts}


def test_what_is_no_checked_job_is_refused_as_json() -> None:
    for data in (
        b"{",
        b"[]",
        b'{"metadata": {"name": "x"}}',
        b'{"metadata": {"name": "x"}, "spec": {"seed": 1}}',
    ):
        with pytest.raises(UserError, match="not the JSON of a checked AsgdJob"):
            job_from_json(data)


def test_a_document_without_live_fields_takes_their_defaults() -> None:
    loaded = job_from_json(b'{"metadata": {"name": "x", "namespace": "team"}, "spec": {"entrypoint": "a:b"}}')
    assert (loaded.namespace, loaded.spec.workers.replicas) == ("team", 4)


def imported_after(code: str) -> set[str]:
    found = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in found.stdout.split()}


def test_a_server_reads_its_job_without_yaml_schema_or_cel() -> None:
    code = "from asgd.spec import job_from_json\n"
    code += 'job_from_json(b\'{"metadata": {"name": "x"}, "spec": {"entrypoint": "a:b"}}\')'
    assert not imported_after(code) & {"yaml", "jsonschema_rs", "cel_expr_python", "torch", "numpy"}


def test_checking_a_job_never_imports_torch(job: Path) -> None:
    loaded = imported_after(f"from asgd.spec import load_job\nload_job({str(job)!r})")
    assert "jsonschema_rs" in loaded
    assert not loaded & {"torch", "numpy"}


def test_validate_judges_every_file_and_returns_2_if_one_is_bad(
    job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate([str(job)]) == 0
    assert capsys.readouterr().out == f"{job}: ok\n"
    bad = tmp_path / "bad.yaml"
    bad.write_text(JOB.replace("replicas: 2", "replicas: 0"))
    assert validate([str(bad), str(job)]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"{bad}:8: spec.workers.replicas: 0 is less than the minimum of 1\n"
    assert captured.out == f"{job}: ok\n"


def test_validate_warns_about_stale_momentum_and_still_accepts_it(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate([str(job)], ["optimizer.momentum=0.9"]) == 0
    captured = capsys.readouterr()
    assert "falls from 3.8 to 0.1 " in captured.err
    assert validate([str(job)], ["optimizer.momentum=0.9", "workers.replicas=1"]) == 0
    assert capsys.readouterr().err == ""


def test_all_problems_come_as_values_too(job: Path) -> None:
    with pytest.raises(JobError) as error:
        load_job(job, ["seed=-1", "stopAfter={}"])
    assert [problem.path for problem in error.value.problems] == [("spec", "seed"), ("spec", "stopAfter")]
