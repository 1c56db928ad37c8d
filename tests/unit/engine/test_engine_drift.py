"""Children that others have changed, or whose names others have: from what watches saw to what an API server got."""

from __future__ import annotations

from typing import Any

from tests.unit.engine.api import Api
from tests.unit.engine.test_engine_reconcile import Operator, body, play
from tests.unit.plan.builders import booked

SERVICE = "/api/v1/namespaces/n/services/x-server"
BUDGET = "/apis/policy/v1/namespaces/n/poddisruptionbudgets/x-server"


def seen_with(api: Api, version: str, *, without_selector: bool) -> dict[str, Any]:
    """The job's Service as a watch brings it."""
    applied = api.objects[SERVICE]
    fields = booked(applied)
    book = [{"manager": "asgd-operator", "operation": "Apply", "fieldsV1": fields}]
    if without_selector:
        del fields["f:spec"]["f:selector"]
        theirs = {"f:spec": {"f:selector": {}}}
        book.append({"manager": "kubectl-edit", "operation": "Update", "fieldsV1": theirs, "time": "2026"})
    metadata = applied["metadata"] | {"uid": "u-service", "resourceVersion": version, "managedFields": book}
    return {**applied, "kind": "Service", "metadata": metadata}


async def with_service(o: Operator) -> None:
    await o.see("jobs", body("x"))
    await o.until(lambda: o.api.writes_to("statefulsets/x-server"), "it has servers")
    await o.see("services", seen_with(o.api, "1", without_selector=False))


def heals(api: Api) -> list[str]:
    kept = (found for path, found in api.objects.items() if "/events/" in path)
    return [found["message"] for found in kept if found["reason"] == "DriftHealed"]


def test_a_service_that_was_edited_is_put_back_and_told_once() -> None:
    async def script(o: Operator) -> None:
        await with_service(o)
        edited = seen_with(o.api, "2", without_selector=True)
        o.api.objects[SERVICE] = edited | {"spec": {}}
        await o.see("services", edited)
        await o.until(lambda: heals(o.api), "it is told")
        assert heals(o.api) == ["Service x-server: kubectl-edit has changed .spec.selector; it is put back."]
        assert o.api.objects[SERVICE]["spec"]["selector"], "it is there again"
        assert o.api.objects[SERVICE]["metadata"]["uid"] == "u-service", "of the one that was seen"

    play(script)


class Deaf(Api):
    """Gives the operator nothing of the selector, whatever it applies."""

    def book(self, body: dict[str, Any]) -> dict[str, Any]:
        found = super().book(body)
        found["fieldsV1"].get("f:spec", {}).pop("f:selector", None)
        return found


def test_what_cannot_be_owned_is_applied_once_and_nobody_is_blamed() -> None:
    async def script(o: Operator) -> None:
        await with_service(o)
        await o.see("services", seen_as_owned(o.api, "2"))
        await o.until(lambda: o.api.requests.count(("PATCH", SERVICE)) == 2, "it is applied again")
        await o.see("services", seen_as_owned(o.api, "3"))
        for looks in (3, 4):
            o.queue.add("n/x")
            await o.until(
                lambda looks=looks: o.api.requests.count(("PATCH", BUDGET)) >= looks, "it is looked at"
            )
        assert o.api.requests.count(("PATCH", SERVICE)) == 2
        assert heals(o.api) == []
        known = o.reconciler.writer.healing.of("u-x")["Service", "x-server"]
        assert known.count == 0 and "f:selector" not in known.futile

    play(script, Deaf())


def seen_as_owned(api: Api, version: str) -> dict[str, Any]:
    """The Service as it stands in the API server, book and all."""
    applied = api.objects[SERVICE]
    return {**applied, "metadata": applied["metadata"] | {"uid": "u-service", "resourceVersion": version}}


def test_a_name_that_is_taken_is_told_before_anything_is_made() -> None:
    theirs = {"metadata": {"name": "x-server", "resourceVersion": "1"}, "spec": {"mine": True}}
    api = Api({SERVICE: theirs})

    async def script(o: Operator) -> None:
        await o.see("jobs", body("x"))
        await o.until(lambda: o.api.condition("x", "Accepted").get("reason") == "NameTaken", "it is told")
        says = o.api.condition("x", "Accepted")["message"]
        assert says.startswith("Service x-server exists already and is not this job's")
        assert o.api.objects[SERVICE] == theirs
        assert {path.rsplit("/", 2)[1] for path in o.api.writes_to("x")} <= {"asgdjobs", "x", "events"}

    play(script, api)


def test_a_name_that_is_taken_later_is_not_applied_over_either() -> None:
    theirs = {"metadata": {"name": "x-server", "resourceVersion": "1"}, "spec": {"mine": True}}

    async def script(o: Operator) -> None:
        await o.see("jobs", body("x"))
        await o.until(lambda: o.api.condition("x", "Accepted").get("status") == "True", "it is accepted")
        await o.until(lambda: o.api.writes_to("statefulsets/x-server"), "it has servers")
        status = o.api.status("x")["status"]
        o.api.objects[BUDGET] = theirs
        await o.see("jobs", body("x") | {"status": status})
        await o.until(lambda: o.api.condition("x", "Degraded").get("reason") == "NameTaken", "it is told")
        assert o.api.objects[BUDGET] == theirs
        await o.until(lambda: "NameTaken" in o.api.events("x"), "there is an event")

    play(script)
