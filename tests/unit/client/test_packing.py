"""From a YAML, a Python file or a folder to the job that is sent: what `asgd run` would find here goes along."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgd.client.coding import code_of
from asgd.client.packing import numbered, pack
from asgd.errors import UserError
from asgd.worker.task.sent import FILE, load_text

JOB = """\
apiVersion: asgd.dev/v1alpha1
kind: AsgdJob
metadata: {{name: mine}}
spec: {{entrypoint: "{entrypoint}"}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def test_a_python_file_goes_along_with_the_modules_beside_it_that_it_imports(folder: Path) -> None:
    (folder / "train.py").write_text("import torch\nfrom data import x\ndef task(): ...\n")
    (folder / "data.py").write_text("def x():\n    import deep\n")
    (folder / "deep.py").write_text("import train\n")
    (folder / "other.py").write_text("")
    found = pack(folder / "train.py", ["workers.replicas=2"])
    assert found.document["metadata"]["name"] == "train" and not found.named
    assert found.document["spec"]["entrypoint"] == "train.py:task"
    assert sorted(found.document["spec"]["source"]) == ["data.py", "deep.py", "train.py"]
    assert found.document["spec"]["workers"] == {"replicas": 2}
    assert found.job.spec.workers.replicas == 2


@pytest.mark.parametrize(
    ("text", "entrypoint"),
    [
        ("import asgd\noptimizer = asgd.connect(model)\n", "train.py"),
        ("from asgd import connect\nconnect(model)\n", "train.py"),
        ("task = make()\n", "train.py:task"),
        ("import asgd\ndef task(): ...\nasgd.connect\n", "train.py:task"),
    ],
)
def test_the_entrypoint_is_the_task_or_the_script_that_connects(
    folder: Path, text: str, entrypoint: str
) -> None:
    (folder / "train.py").write_text(text)
    assert pack(folder / "train.py").document["spec"]["entrypoint"] == entrypoint


def test_a_file_without_a_task_says_what_it_defines_and_takes_a_name(folder: Path) -> None:
    (folder / "train.py").write_text("def build(): ...\n")
    with pytest.raises(
        UserError, match=r"say which callable returns the task, by --entrypoint NAME; it defines build"
    ):
        pack(folder / "train.py")
    assert pack(folder / "train.py", entrypoint="build").document["spec"]["entrypoint"] == "train.py:build"


def test_a_jobs_yaml_takes_along_the_file_that_stands_beside_it(folder: Path) -> None:
    (folder / "job.yaml").write_text(JOB.format(entrypoint="train.py:task"))
    with pytest.raises(
        UserError, match=r"train.py stands neither in spec.source nor in the current directory"
    ):
        pack(folder / "job.yaml")
    (folder / "train.py").write_text("def task(): ...\n")
    found = pack(folder / "job.yaml", name="other")
    assert found.document["spec"]["source"] == {"train.py": "def task(): ...\n"}
    assert found.document["metadata"]["name"] == "other" and found.named
    assert "batchSize" not in found.document["spec"], "defaults are the API server's"


def test_a_module_of_the_image_takes_nothing_along(folder: Path) -> None:
    (folder / "job.yaml").write_text(JOB.format(entrypoint="asgd.examples.digits:task"))
    assert "source" not in pack(folder / "job.yaml").document["spec"]


def test_what_stands_beside_the_job_in_its_file_goes_first_and_strange_kinds_are_refused(
    folder: Path,
) -> None:
    claim = "---\napiVersion: v1\nkind: {}\nmetadata: {{name: models}}\n"
    (folder / "job.yaml").write_text(JOB.format(entrypoint="m:f") + claim.format("PersistentVolumeClaim"))
    assert [each["kind"] for each in pack(folder / "job.yaml").others] == ["PersistentVolumeClaim"]
    (folder / "job.yaml").write_text(JOB.format(entrypoint="m:f") + claim.format("Ingress"))
    with pytest.raises(UserError, match="holds a Ingress beside its AsgdJob: kubectl apply -f"):
        pack(folder / "job.yaml")


def test_a_folder_is_its_job_or_its_task(folder: Path) -> None:
    work = folder / "My Work"
    work.mkdir()
    with pytest.raises(UserError, match="holds no Python file"):
        pack(work)
    (work / "train.py").write_text("def task(): ...\n")
    (work / "more.py").write_text("")
    found = pack(work)
    assert found.document["metadata"]["name"] == "my-work"
    assert sorted(found.document["spec"]["source"]) == ["more.py", "train.py"]
    (work / "job.yaml").write_text(JOB.format(entrypoint="train.py:task"))
    assert pack(work).document["metadata"]["name"] == "mine"
    (work / "job2.yaml").write_text(JOB.format(entrypoint="train.py:task"))
    with pytest.raises(UserError, match=r"holds 2 jobs \(job.yaml, job2.yaml\): name one of them"):
        pack(work)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("train.py", "def task(:\n", r"train.py:1: cannot be read: invalid syntax"),
        ("train.py", "import pkg\ndef task(): ...\n", r"train.py imports the package pkg/.*--image"),
        ("train.txt", "", r"train.txt must be a job's YAML"),
        ("job.yaml", JOB.format(entrypoint="m:f") + "more: 1\n", r"job.yaml:5: more: unknown field"),
    ],
)
def test_what_cannot_be_sent_is_one_sentence(folder: Path, name: str, text: str, sentence: str) -> None:
    (folder / "pkg").mkdir()
    (folder / "pkg" / "__init__.py").write_text("")
    (folder / name).write_text(text)
    with pytest.raises(UserError, match=sentence):
        pack(folder / name)


def test_a_name_that_is_taken_is_numbered_and_stays_short() -> None:
    assert numbered("train", set()) == "train"
    assert numbered("train", {"train", "train-2"}) == "train-3"
    assert numbered("a" * 40, {"a" * 40}) == "a" * 38 + "-2"


def test_a_function_of_a_file_goes_as_that_file_and_one_of_asgd_as_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mytask.py").write_text("import mydata\ndef build(): ...\n")
    (folder / "mydata.py").write_text("")
    monkeypatch.syspath_prepend(str(folder))
    import mytask  # type: ignore[import-not-found]

    found = code_of(mytask.build)
    assert found.entrypoint == "mytask.py:build" and sorted(found.files) == ["mydata.py", "mytask.py"]
    ours = code_of(numbered)
    assert (ours.entrypoint, ours.files) == ("asgd.client.packing:numbered", {})


def test_a_function_without_a_file_goes_as_text_that_gives_it_back() -> None:
    width = 7
    found = code_of(lambda: width)
    assert found.entrypoint.startswith(f"{FILE}:")
    made: dict[str, object] = {}
    exec(found.files[FILE], made)
    assert made[found.entrypoint.partition(":")[2]]() == 7  # type: ignore[operator]
    with pytest.raises(UserError, match=r"was written by Python 2.7 and this is"):
        load_text("", sha256="", python="2.7")


def test_what_is_no_task_is_refused_with_what_may_be_given() -> None:
    with pytest.raises(UserError, match=r"asgd.client.submit: 5 is of type int; allowed are a function"):
        code_of(5)
