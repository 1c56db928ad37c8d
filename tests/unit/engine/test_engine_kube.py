"""The API client against a small HTTP server: what goes over the wire, and which error each answer becomes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import yaml
from aiohttp import web
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kubernetes.aio import client

from asgd_operator.answers import refusal
from asgd_operator.constants import EventReason
from asgd_operator.errors import (
    Conflict,
    Forbidden,
    Invalid,
    LeaseLost,
    NamespaceEnds,
    NotFound,
    OperatorError,
    TooManyRequests,
    Transient,
)
from asgd_operator.kube import Kube
from asgd_operator.plan.actions import Event
from tests.effort import examples

MANIFEST = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "a", "namespace": "n"}}
JOB = {"name": "x", "namespace": "n", "uid": "u", "generation": 3}


def talk(
    script: Callable[[Kube], Awaitable[Any]],
    code: int = 200,
    message: str = "why",
    headers: dict[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Runs `script` against a server that answers with `code`; the requests that it saw."""
    seen: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        text = await request.text()
        told = {
            "method": request.method,
            "path": request.path,
            "query": dict(request.query),
            "type": request.content_type,
        }
        seen.append(told | {"body": json.loads(text) if text else None, "text": text})
        return web.json_response({"message": message}, status=code, headers=headers)

    async def main() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]  # the port that was chosen
        async with client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{port}")) as api:
            try:
                await script(Kube(api))
            finally:
                await runner.cleanup()

    asyncio.run(main())
    return seen


def test_an_apply_is_server_side_and_by_our_manager() -> None:
    (request,) = talk(lambda kube: kube.apply(MANIFEST))
    assert (request["method"], request["type"]) == ("PATCH", "application/apply-patch+yaml")
    assert request["path"] == "/apis/apps/v1/namespaces/n/statefulsets/a"
    assert request["query"] == {"fieldManager": "asgd-operator", "force": "true"}
    assert request["body"] == MANIFEST


@settings(max_examples=examples(10), deadline=None)
@given(text=st.text())
@example(text="from the hub \U0001f680")
@example(text="\x00\x7f\x85\u2028\ufeff\uffff \\ud83d")
def test_an_apply_carries_every_character_as_the_api_servers_yaml_reader_takes_it(text: str) -> None:
    """NB: escaped surrogate pairs, which JSON has for an emoji, are refused by it: a job could not be started, and a
    status not written, for the sake of one in a file or in the last words of a worker."""
    manifest = MANIFEST | {"data": {"a": text}}
    (request,) = talk(lambda kube: kube.apply(manifest))
    assert yaml.safe_load(request["text"]) == manifest


def test_a_pod_of_a_lost_node_is_said_to_have_failed_by_a_disruption_if_it_is_still_the_same() -> None:
    (request,) = talk(lambda kube: kube.fail_pod("n", "w-0", "u", "node a does not answer"))
    assert request["path"] == "/api/v1/namespaces/n/pods/w-0/status"
    assert request["body"]["metadata"]["uid"] == "u"
    (condition,) = request["body"]["status"]["conditions"]
    assert (request["body"]["status"]["phase"], condition["type"]) == ("Failed", "DisruptionTarget")
    talk(lambda kube: kube.fail_pod("n", "w-0", "u", "another has its name"), code=409)


def test_a_pod_that_somebody_deletes_is_said_to_be_disrupted_and_goes_on_ending() -> None:
    (request,) = talk(lambda kube: kube.excuse_pod("n", "w-0", "u", "deleted by request"))
    assert request["path"] == "/api/v1/namespaces/n/pods/w-0/status"
    assert request["body"]["metadata"]["uid"] == "u"
    (condition,) = request["body"]["status"].pop("conditions")
    assert (condition["type"], condition["status"]) == ("DisruptionTarget", "True")
    assert request["body"]["status"] == {}, "the kubelet says how it ends"


def test_live_fields_have_a_manager_of_their_own() -> None:
    (request,) = talk(lambda kube: kube.apply_live("Job", "n", "w", "u", {"parallelism": 2}))
    assert request["query"]["fieldManager"] == "asgd-operator-live"
    assert (request["body"]["apiVersion"], request["body"]["spec"]) == ("batch/v1", {"parallelism": 2})
    assert request["body"]["metadata"] == {"name": "w", "namespace": "n", "uid": "u"}


def test_an_apply_to_an_object_that_is_there_is_of_the_one_that_was_seen() -> None:
    manifest = {"kind": "Service", "metadata": {"name": "s", "namespace": "n"}}
    (request,) = talk(lambda kube: kube.apply(manifest, uid="u"))
    assert request["body"]["metadata"]["uid"] == "u"
    (request,) = talk(lambda kube: kube.apply(manifest))
    assert "uid" not in request["body"]["metadata"]


def test_status_is_written_to_its_subresource_of_the_job_with_this_uid() -> None:
    (request,) = talk(lambda kube: kube.apply_status("n", "x", "u", {"phase": "Running"}))
    assert request["path"] == "/apis/asgd.dev/v1alpha1/namespaces/n/asgdjobs/x/status"
    assert request["body"]["metadata"] == {"name": "x", "namespace": "n", "uid": "u"}


def test_a_delete_is_of_the_object_that_was_seen() -> None:
    (request,) = talk(lambda kube: kube.delete("Pod", "n", "p", "u-1", force=True))
    assert request["method"] == "DELETE"
    assert request["body"] == {
        "preconditions": {"uid": "u-1"},
        "propagationPolicy": "Background",
        "gracePeriodSeconds": 0,
    }


@pytest.mark.parametrize("code", [404, 409])
def test_deleting_what_is_gone_or_another_is_done(code: int) -> None:
    talk(lambda kube: kube.delete("Pod", "n", "p", "u-1"), code)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, Invalid),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, Invalid),
        (422, Invalid),
        (429, TooManyRequests),
        (500, Transient),
        (503, Transient),
    ],
)
def test_answers_become_errors_that_say_what_to_do(code: int, error: type[OperatorError]) -> None:
    with pytest.raises(error, match="why"):
        talk(lambda kube: kube.apply(MANIFEST), code)


def test_the_server_says_when_to_come_back() -> None:
    with pytest.raises(TooManyRequests) as caught:
        talk(lambda kube: kube.apply(MANIFEST), 429, headers={"Retry-After": "7"})
    assert caught.value.retry_after == 7


def test_a_field_of_the_wrong_type_is_the_users_fault_though_the_server_says_500() -> None:
    with pytest.raises(Invalid, match="nodeSelector"):
        talk(
            lambda kube: kube.apply(MANIFEST),
            500,
            "failed to create typed patch object (n/a): .spec.nodeSelector: x",
        )


def refused(code: int, answer: dict[str, Any]) -> OperatorError:
    return refusal(code, json.dumps(answer).encode(), None, "PATCH /x")


def test_a_namespace_ends_by_the_cause_that_the_api_server_gives_and_by_no_words() -> None:
    words = (
        'events "x" is forbidden: unable to create new content in namespace n because it is being terminated'
    )
    cause = {"reason": "NamespaceTerminating", "field": "metadata.namespace"}
    assert type(refused(403, {"message": words})) is Forbidden, "a job is deleted for no sentence"
    ends = refused(403, {"message": words, "details": {"causes": [cause]}})
    assert isinstance(ends, NamespaceEnds) and str(ends) == words


def test_the_fields_that_the_api_server_complains_about_are_known() -> None:
    """Its answers as Kubernetes 1.34 gives them."""
    causes = [
        {"field": "status.training.metrics"},
        {"field": "<nil>"},
        {"field": "status.conditions[1].message"},
    ]
    found = refused(422, {"message": "is invalid", "details": {"causes": causes}})
    assert isinstance(found, Invalid)
    assert found.fields == ("status.training.metrics", "status.conditions[1].message")
    says = "failed to create typed patch object (n/x; asgd.dev/v1alpha1, Kind=AsgdJob): "
    found = refused(500, {"message": f"{says}.status.training.new: field not declared in schema"})
    assert isinstance(found, Invalid)
    assert found.fields == ("status.training.new",)
    assert isinstance(refused(500, {"message": "etcdserver: request is too large"}), Invalid)


def test_that_rules_were_not_checked_is_not_quoted_beside_the_mistake_itself() -> None:
    unchecked = (
        "some validation rules were not checked because the object was invalid; correct the existing errors"
    )
    mistake = 'AsgdJob "x" is invalid: [spec.buffers: Unsupported value: "avg": supported values: "local", "average"'
    found = refused(
        422, {"message": f'{mistake}, <nil>: Invalid value: "null": {unchecked} to complete validation]'}
    )
    assert str(found) == f"{mistake}]"


def test_no_server_is_worth_another_try() -> None:
    async def main() -> None:
        async with client.ApiClient(client.Configuration(host="http://127.0.0.1:1")) as api:
            with pytest.raises(Transient, match="Cannot connect"):
                await Kube(api).apply(MANIFEST)

    asyncio.run(main())


def test_an_event_that_is_told_again_has_the_same_name() -> None:
    event = Event(EventReason.FAILED, "m", warning=True)
    (first,), (second,) = (talk(lambda kube: kube.event(JOB, event)) for _ in range(2))
    assert first["body"]["metadata"]["name"] == second["body"]["metadata"]["name"]
    assert (first["body"]["type"], first["body"]["involvedObject"]["uid"]) == ("Warning", "u")
    (later,) = talk(lambda kube: kube.event({**JOB, "generation": 4}, event))
    assert later["body"]["metadata"]["name"] != first["body"]["metadata"]["name"]


def test_a_process_that_may_no_longer_lead_reads_but_writes_nothing() -> None:
    async def script(kube: Kube) -> None:
        kube.may_write = lambda: False
        await kube.get("Pod", "n", "p")
        for write in (kube.apply(MANIFEST), kube.create(MANIFEST), kube.delete("Pod", "n", "p", "u")):
            with pytest.raises(LeaseLost):
                await write

    assert [request["method"] for request in talk(script)] == ["GET"]
