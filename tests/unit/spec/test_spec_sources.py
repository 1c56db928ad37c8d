"""`spec.sourceFrom` on a laptop: the same file as on a cluster, or a folder; and how large a job may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgd.errors import UserError
from asgd.spec import dump_job, load_job, sources, validate, with_files

JOB = (
    "apiVersion: asgd.dev/v1alpha1\nkind: AsgdJob\nmetadata: {name: x}\n"
    "spec:\n  entrypoint: train.py:task\n  source: {own.py: mine}\n  sourceFrom: {configMap: code}\n"
)
CONFIG_MAP = (
    "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: code}\ndata:\n  train.py: a\n  own.py: theirs\n"
)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    return path


def test_a_configmap_in_the_jobs_file_is_beside_source_whose_files_win(tmp_path: Path) -> None:
    path = written(tmp_path, JOB + CONFIG_MAP)
    job = with_files(load_job(path), path)
    assert job.spec.source == {"train.py": "a", "own.py": "mine"}
    assert job.document["spec"]["source"] == job.spec.source, "what workers read"


def test_a_folder_holds_what_kubectl_would_make_a_configmap_of(tmp_path: Path) -> None:
    path = written(tmp_path, JOB)
    folder = tmp_path / "src"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "deep.py").write_text("not taken")
    (folder / "train.py").write_text("a = 'é'")
    (folder / "sizes.json").write_text("{}")
    (folder / "with space.py").write_text("no key of a ConfigMap")
    job = with_files(load_job(path), path, str(folder))
    assert job.spec.source == {"own.py": "mine", "train.py": "a = 'é'", "sizes.json": "{}"}


@pytest.mark.parametrize(
    ("text", "folder", "says"),
    [
        (
            JOB + CONFIG_MAP.replace("name: code", "name: other"),
            None,
            r"^spec\.sourceFrom\.configMap: ConfigMap code does not stand in .*; add it there .* --source-from DIR$",
        ),
        (JOB, "nowhere", r"^--source-from: nowhere cannot be read: No such file or directory$"),
        (
            JOB.replace("  sourceFrom: {configMap: code}\n", ""),
            "src",
            r"^--source-from: the job in .* has no spec\.sourceFrom, whose files the folder holds$",
        ),
        (
            JOB + CONFIG_MAP + "  ../escape.py: b\n",
            None,
            r"^spec\.sourceFrom: '\.\./escape\.py' cannot be the key of a ConfigMap, nor a file's name$",
        ),
        (JOB + CONFIG_MAP + "  n.py: 5\n", None, "data of ConfigMap code must map names of files to text$"),
        (
            JOB + CONFIG_MAP + f"  big.py: {'x' * (1 << 20)}\n",
            None,
            r"data of ConfigMap code has 1,048,583 bytes, and a ConfigMap holds 1,048,576$",
        ),
    ],
    ids=["another name", "no folder", "no sourceFrom", "a path as key", "a number", "too large"],
)
def test_what_is_missing_or_wrong_is_one_sentence(
    tmp_path: Path, text: str, folder: str | None, says: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=says) as raised:
        with_files(load_job(path), path, folder)
    assert raised.value.exit_code == 2


def test_the_job_that_a_run_leaves_can_be_applied_and_run_again(tmp_path: Path) -> None:
    """With more files than `source` may have, and names that it may not have."""
    many = "".join(f"  part{number}.txt: {number}a\n" for number in range(30))
    path = written(tmp_path, JOB + CONFIG_MAP + many)
    job = with_files(load_job(path), path)
    again = tmp_path / "again.yaml"
    again.write_text(dump_job(job))
    found = with_files(load_job(again), again)
    assert found.spec == job.spec
    assert len(found.spec.source) == 32


def test_validate_says_from_where_on_a_plain_kubectl_apply_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "apiVersion: asgd.dev/v1alpha1\nkind: AsgdJob\nmetadata: {name: x}\nspec:\n  entrypoint: a.py:t\n  source:\n"
    path = written(tmp_path, head + f"    a.py: {'x' * 200_000}\n")
    assert validate.main([str(path)]) == 0
    assert "kubectl apply" not in capsys.readouterr().err
    path.write_text(head + f"    a.py: {'x' * 262_100}\n")
    assert validate.main([str(path)]) == 0
    said = capsys.readouterr().err
    assert "warning: the job has 262,227 bytes as JSON, and `kubectl apply` keeps a copy" in said
    assert "use `kubectl apply --server-side`, or put the files into a ConfigMap" in said


def test_a_file_that_is_too_long_and_a_job_that_is_too_large_are_refused_with_the_limit(
    tmp_path: Path,
) -> None:
    head = "apiVersion: asgd.dev/v1alpha1\nkind: AsgdJob\nmetadata: {name: x}\nspec:\n  entrypoint: a.py:t\n  source:\n"
    path = written(tmp_path, head + f"    a.py: {'x' * 262_145}\n")
    with pytest.raises(UserError, match=r"spec\.source: must have at most 262,144 characters in each file"):
        load_job(path)
    files = "".join(f"    m{number}.py: {'x' * 262_144}\n" for number in range(4))
    path.write_text(head + files)
    with pytest.raises(UserError, match=r"spec: the job has 1,05\d,\d{3} bytes as JSON, .* holds 1,048,576"):
        load_job(path)


def test_the_entrypoints_file_is_missed_where_neither_has_it(tmp_path: Path) -> None:
    job = load_job(written(tmp_path, JOB))
    assert sources.missing_file(job, {"other.py": ""}) == "train.py"
    assert sources.missing_file(job, {"train.py": ""}) == ""
    module = load_job(written(tmp_path, JOB), ["entrypoint=pkg.train:task"])
    assert sources.missing_file(module, {}) == ""
