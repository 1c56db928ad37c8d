"""What the probes say of an operator whose watches never get past their first list."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import kopf

from asgd_operator import handlers
from asgd_operator.engine.agenda import Lane
from asgd_operator.engine.observe import Indices
from asgd_operator.run import LISTING_SECONDS, Operator
from asgd_operator.settings import OperatorSettings


async def leading(seconds: float) -> Operator:
    """An operator that leads since `seconds`, and whose kopf has found one job."""
    operator = Operator(OperatorSettings(), Mock(), Mock())
    operator.led_since = asyncio.get_running_loop().time() - seconds
    operator.queue.heartbeat = asyncio.get_running_loop().time()
    operator.ready.set()
    operator.reconciler.indices = Indices(jobs={("home", "digits"): ()})
    return operator


def test_an_operator_is_not_ready_before_kopf_has_told_of_the_jobs_it_lists() -> None:
    async def run() -> None:
        operator = await leading(1)
        assert (operator.unready(), operator.sick()) == ("starting", "")
        operator._add("home/digits", Lane.NEWS)
        assert (operator.unready(), operator.sick()) == ("", "")

    asyncio.run(run())


def test_an_operator_whose_first_list_never_ends_is_started_again() -> None:
    async def run() -> None:
        operator = await leading(LISTING_SECONDS + 1)
        assert operator.sick() == "the first list of objects has not ended after 301 s"
        operator._add("home/digits", Lane.NEWS)
        assert operator.sick() == ""

    asyncio.run(run())


def test_an_operator_without_jobs_is_ready() -> None:
    async def run() -> None:
        operator = await leading(LISTING_SECONDS + 1)
        operator.reconciler.indices = Indices()
        assert (operator.unready(), operator.sick()) == ("", "")

    asyncio.run(run())


def test_a_stream_of_events_that_died_without_a_word_is_given_up_within_a_minute() -> None:
    settings = kopf.OperatorSettings()
    handlers.configure(settings, timeout_seconds=30)
    assert settings.watching.server_timeout is not None and settings.watching.client_timeout is not None
    assert settings.watching.server_timeout < settings.watching.client_timeout <= 60


def test_an_operator_that_cannot_watch_a_kind_is_not_ready_and_is_not_killed_for_it() -> None:
    async def run() -> None:
        operator = await leading(1)
        operator._add("home/digits", Lane.NEWS)
        operator.asks = True
        now = asyncio.get_running_loop().time()
        operator.watching.told(("AsgdJob", ""), "the API server does not know this kind; apply the CRDs", now)
        assert operator.unready() == (
            "AsgdJobs cannot be watched: the API server does not know this kind; apply the CRDs"
        )
        assert operator.sick() == ""
        operator.watching.told(("AsgdJob", ""), "", now)
        assert operator.unready() == ""

    asyncio.run(run())
