"""The ConfigMap of `spec.sourceFrom`: copied once for the job's pods, and missed in one sentence."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from asgd.spec import job_from_json
from asgd_operator.engine import sources
from tests.unit.engine.api import Api
from tests.unit.engine.test_engine_reconcile import Operator, body, play
from tests.unit.plan.builders import make_job, names

CODE = "/api/v1/namespaces/n/configmaps/code"
SPEC: dict[str, Any] = {"entrypoint": "train.py:task", "sourceFrom": {"configMap": "code"}}


def copies(api: Api) -> dict[str, dict[str, Any]]:
    """The jobs as their pods read them, by the name of the ConfigMap."""
    return {
        path.rpartition("/")[2]: json.loads(found["data"]["job.json"])
        for path, found in api.objects.items()
        if "/configmaps/x-spec-" in path
    }


def test_the_files_are_in_the_job_that_its_pods_read_and_source_wins() -> None:
    files = {"train.py": "def task(): ...", "own.py": "theirs", "sizes.json": "{}"}

    async def script(o: Operator) -> None:
        await o.see("jobs", body("x", **SPEC, source={"own.py": "mine"}))
        await o.until(lambda: o.api.writes_to("statefulsets/x-server"), "it starts")
        (copy,) = copies(o.api).values()
        assert copy["spec"]["source"] == {**files, "own.py": "mine"}

    play(script, Api({CODE: {"data": files}}))


def test_the_copys_name_does_not_depend_on_what_is_in_the_configmap() -> None:
    """Or a running job would be another one when somebody edits it."""
    names = []

    async def script(o: Operator) -> None:
        await o.see("jobs", body("x", **SPEC))
        await o.until(lambda: copies(o.api), "there is a copy")
        names.extend(copies(o.api))

    for text in ("a", "b"):
        play(script, Api({CODE: {"data": {"train.py": text}}}))
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (None, "spec.sourceFrom.configMap: there is no ConfigMap code in n."),
        (
            {"data": {"b.py": "", "a.py": ""}},
            "spec.entrypoint: there is no file train.py in ConfigMap code, which holds a.py, b.py, nor in spec.source.",
        ),
        (
            {"kind": "ConfigMap"},
            "spec.entrypoint: there is no file train.py in ConfigMap code, which is empty, nor in spec.source.",
        ),
        (
            {"data": {"train.py": ""}, "binaryData": {"weights.bin": "AA=="}},
            "spec.sourceFrom.configMap: weights.bin of ConfigMap code is not UTF-8 text; put it into an image or a"
            " volume.",
        ),
        (
            {"data": {"train.py": '"' * 600_000}},
            "spec: the job has 1,200,188 bytes as JSON, its files included, and the ConfigMap from which its pods read"
            " it holds 1,048,576; put code and data into an image",
        ),
    ],
    ids=["no ConfigMap", "no file", "empty", "binary", "too large"],
)
def test_what_is_amiss_stands_on_the_job_in_one_sentence_and_it_starts_when_it_is_mended(
    found: dict[str, Any] | None, says: str
) -> None:
    async def script(o: Operator) -> None:
        await o.see("jobs", body("x", **SPEC))
        await o.until(lambda: o.api.condition("x", "Accepted").get("status") == "False", "it is told")
        assert o.api.condition("x", "Accepted")["message"] == says
        assert o.api.writes_to("statefulsets") + o.api.writes_to("configmaps") == []
        o.api.objects[CODE] = {"data": {"train.py": "def task(): ..."}}
        o.queue.add("n/x")
        await o.until(lambda: o.api.writes_to("statefulsets/x-server"), "it starts")

    play(script, Api({CODE: found} if found is not None else {}))


def test_an_entrypoint_that_is_no_file_needs_none_in_the_configmap() -> None:
    async def script(o: Operator) -> None:
        await o.see("jobs", body("x", entrypoint="pkg.train:task", sourceFrom={"configMap": "code"}))
        await o.until(lambda: o.api.writes_to("statefulsets/x-server"), "it starts")

    play(script, Api({CODE: {"data": {"helper.py": ""}}}))


def test_where_there_is_a_copy_the_configmap_is_not_read_again() -> None:
    """A running job must not change, nor stand still, by what becomes of the user's ConfigMap."""

    class Unasked:
        async def get(self, *_: str) -> None:
            raise AssertionError("the ConfigMap was read")

    scene = make_job().having(**SPEC).with_supports()
    document = {"kind": "AsgdJob", "metadata": {"name": "x"}, "spec": scene.spec}
    job = job_from_json(json.dumps(document).encode())
    found = asyncio.run(sources.files(Unasked(), scene.observed(), job))  # type: ignore[arg-type]
    assert found == ({}, None)
    assert [action for action in names(scene.actions()) if "ConfigMap" in action] == [], (
        "nor is the copy written"
    )
