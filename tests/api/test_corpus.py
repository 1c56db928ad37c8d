"""The offline check and a real API server judge the corpus of jobs alike, with the same defaults and scalars."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from asgd.spec import JobError, check_document, load_job
from tests.cluster import api_tier
from tests.cluster.kubectl import Kubectl
from tests.cluster.shell import ClusterError
from tests.unit.spec.test_spec_scalars import SCALARS

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "corpus"
DRY = ("create", "--dry-run=server", "--validate=strict", "-o", "json", "-f")


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    state = tmp_path_factory.mktemp("corpus") / "state"
    try:
        plane = api_tier.up(state, tied=True)
    except ClusterError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no API server: {error}")
    try:
        plane.kubectl.apply(yaml.safe_load((ROOT / "crds" / "asgdjobs.asgd.dev.yaml").read_text()))
        plane.kubectl.wait("crd/asgdjobs.asgd.dev", "condition=Established")
        yield plane.kubectl
    finally:
        api_tier.down(state)


def the_job(printed: str) -> dict[str, Any]:
    """The AsgdJob among the objects that kubectl printed one after another."""
    decoder, at, found = json.JSONDecoder(parse_int=_number), 0, []
    while at < len(printed.rstrip()):
        value, at = decoder.raw_decode(printed, at)
        found.append(value)
        at += len(printed[at:]) - len(printed[at:].lstrip())
    return next(value for value in found if value["kind"] == "AsgdJob")


def _number(text: str) -> int | float:
    """Beyond 64 bits the server holds a float, and Go prints its shortest form without an exponent."""
    return int(text) if abs(int(text)) < 1 << 63 else float(text)


def allowed_offline(new: dict[str, Any], old: dict[str, Any]) -> bool:
    try:
        check_document(new, old=old)
    except JobError:
        return False
    return True


def test_every_good_job_is_accepted_with_the_defaults_that_the_offline_check_fills_in(
    kubectl: Kubectl,
) -> None:
    for path in sorted((CORPUS / "good").glob("*.yaml")):
        stored = the_job(kubectl(*DRY, str(path)))
        assert stored["spec"] == load_job(path).document["spec"], path.name


def test_every_bad_job_is_refused(kubectl: Kubectl) -> None:
    accepted = []
    for path in sorted((CORPUS / "bad").glob("*.yaml")):
        try:
            kubectl(*DRY, str(path))
        except ClusterError:
            continue
        accepted.append(path.name)
    assert accepted == []


def test_plain_scalars_mean_to_us_what_they_mean_to_kubectl(kubectl: Kubectl, tmp_path: Path) -> None:
    texts = [text for text in SCALARS if text != "-"]  # alone on a line that is a list's dash
    lines = "".join(f"    a{number}: {text}\n" for number, text in enumerate(texts))
    path = tmp_path / "job.yaml"
    path.write_text(
        "apiVersion: asgd.dev/v1alpha1\nkind: AsgdJob\nmetadata: {name: scalars}\n"
        f"spec:\n  entrypoint: a.b:c\n  args:\n{lines}"
    )
    theirs = the_job(kubectl(*DRY, str(path)))["spec"]["args"]
    ours = load_job(path).document["spec"]["args"]
    differing = {
        texts[int(k[1:])]: (ours.get(k), theirs.get(k)) for k in ours | theirs if ours.get(k) != theirs.get(k)
    }
    assert differing == {}


def test_an_edit_of_a_running_job_gets_the_same_verdict(kubectl: Kubectl) -> None:
    """A live field moves, a frozen one does not, unless the same edit suspends the job."""
    job: dict[str, Any] = load_job(CORPUS / "good" / "smallest.yaml").document
    name = job["metadata"]["name"]
    kubectl("create", "-f", "-", stdin=json.dumps(job))
    edits = [
        {"workers": {"replicas": 3}},
        {"stopAfter": {"epochs": 3}},
        {"batchSize": 64},
        {"optimizer": {"learningRate": 0.5}},
        {"batchSize": 64, "runPolicy": {"suspend": True}},
        {"managedBy": "somebody.else"},
    ]
    for edit in edits:
        words = (
            "patch",
            "asgdjob",
            name,
            "--type=merge",
            "--dry-run=server",
            "-p",
            json.dumps({"spec": edit}),
        )
        new = {**job, "spec": _merged(job["spec"], edit)}
        assert kubectl.succeeds(*words) == allowed_offline(new, job), edit


def _merged(spec: dict[str, Any], edit: dict[str, Any]) -> dict[str, Any]:
    return {**spec, **{k: {**spec[k], **v} if isinstance(v, dict) else v for k, v in edit.items()}}
