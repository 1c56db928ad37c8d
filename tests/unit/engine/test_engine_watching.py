"""An operator is ready when it can hear of everything: started before its CRD, robbed of a right, or of the CRD."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp
import pytest

from asgd_operator import run
from asgd_operator.engine.watching import SILENT_SECONDS, Watching
from asgd_operator.errors import Transient
from asgd_operator.kube import _PLACES
from asgd_operator.run import WATCHED, Operator
from asgd_operator.settings import OperatorSettings
from tests.unit.engine.api import Api, serving

JOBS = "/apis/asgd.dev/v1alpha1/asgdjobs"


def listable() -> Api:
    """An API server that knows all kinds."""
    return Api({f"/{place}/{plural}": {"items": []} for place, plural in (_PLACES[kind] for kind in WATCHED)})


def play(api: Api, script: Callable[[Operator], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with serving(api) as connected, aiohttp.ClientSession() as session:
            await script(Operator(OperatorSettings(), connected, session))

    monkeypatch.setattr(run, "LOOK_SECONDS", 0.01)
    asyncio.run(main())


async def until(holds: Callable[[], object]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


def test_an_operator_that_starts_before_its_crd_waits_for_it_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = listable()
    known = api.objects.pop(JOBS)

    async def script(operator: Operator) -> None:
        waiting = asyncio.create_task(operator._until_watchable())
        await until(
            lambda: (
                operator.unready()
                == "AsgdJobs cannot be watched: the API server does not know this kind; apply the CRDs"
            )
        )
        assert operator.sick() == "", "a restart would not help"
        assert not waiting.done(), "kopf would never see a kind that comes later"
        api.objects[JOBS] = known
        await asyncio.wait_for(waiting, 10)
        assert operator.unready() == ""

    play(api, script, monkeypatch)


@pytest.mark.parametrize("code", [403, 404])
def test_a_lost_right_or_kind_is_not_ready_and_when_it_is_back_all_watches_begin_anew(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = listable()

    async def script(operator: Operator) -> None:
        await operator._until_watchable()
        looking = asyncio.create_task(operator._look())
        api.refuse.append(("asgdjobs", code))
        await until(operator.unready)
        assert operator.unready().startswith("AsgdJobs cannot be watched: ")
        api.refuse.clear()
        with pytest.raises(Transient, match="AsgdJobs can be watched again; the operator starts anew"):
            await asyncio.wait_for(looking, 10)

    play(api, script, monkeypatch)


def test_while_all_can_be_watched_the_looks_go_on_and_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(operator: Operator) -> None:
        await operator._until_watchable()
        looking = asyncio.create_task(operator._look())
        await until(lambda: len(operator.api.configuration.host) and operator.unready() == "")
        await asyncio.sleep(0.2)
        assert not looking.done()
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking

    play(listable(), script, monkeypatch)


def test_an_api_server_that_falls_silent_is_told_of_and_needs_no_new_start() -> None:
    watching = Watching()
    assert watching.why_not(0.0) == "the API server has not answered yet"
    watching.told(("Pod", ""), "", 0.0)
    assert watching.why_not(SILENT_SECONDS) == ""
    assert watching.why_not(SILENT_SECONDS + 1) == "the API server has not answered for 61 s"
    watching.told(("Pod", ""), "", 100.0)
    assert (watching.why_not(100.0), watching.anew) == ("", "")


def test_one_namespace_of_several_is_named() -> None:
    watching = Watching()
    watching.told(("Pod", "a"), "", 0.0)
    watching.told(("Pod", "b"), "no right", 0.0)
    assert watching.why_not(0.0) == "Pods cannot be watched in namespace b: no right"
    watching.told(("Pod", "b"), "", 1.0)
    assert watching.anew == "Pods can be watched in namespace b again"
    watching.begun()
    assert watching.anew == ""


def test_with_hundreds_of_namespaces_a_look_asks_for_some_of_them_and_all_get_their_turn() -> None:
    places = [(kind, f"n{number}") for number in range(300) for kind in WATCHED]
    looks = run.batched(places)
    assert max(map(len, looks)) == run.ASKED_AT_ONCE
    assert [place for look in looks for place in look] == places
