"""One corpus of jobs, judged offline here and by a real API server in `tests/api`."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgd.spec import JobError, check_document, dump_job, job_from_json, job_to_json, load_job

CORPUS = Path(__file__).resolve().parents[2] / "corpus"
GOOD = sorted((CORPUS / "good").glob("*.yaml"))
BAD = sorted([*(CORPUS / "bad").glob("*.yaml"), *(CORPUS / "stricter").glob("*.yaml")])


def expected(path: Path) -> list[str]:
    found = []
    for line in path.read_text().splitlines():
        if not line.startswith("# "):
            return found
        found.append(line.removeprefix("# "))
    return found


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_job_loads_and_reads_the_same_after_it_was_written_out(path: Path, tmp_path: Path) -> None:
    job = load_job(path)
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump_job(job))
    assert load_job(copy).document == job.document
    assert job_from_json(job_to_json(job)).spec == job.spec
    assert check_document(job.document, old=job.document) == job.document


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_job_is_refused_in_exactly_these_words(path: Path) -> None:
    with pytest.raises(JobError) as refusal:
        load_job(path)
    said = [line.removeprefix(f"{path}:").strip() for line in str(refusal.value).splitlines()]
    assert said == expected(path)
    assert refusal.value.exit_code == 2


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    assert len(GOOD) >= 12
    assert len(BAD) >= 40
    assert all(expected(path) for path in BAD)


def test_a_good_corpus_sets_every_field_of_the_spec_once() -> None:
    given = load_job(CORPUS / "good" / "every-field.yaml").given
    missing = set(load_job(CORPUS / "good" / "every-field.yaml").document["spec"]) - given
    assert not missing
