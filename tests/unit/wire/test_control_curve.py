"""Sealed sockets over TCP: who holds the job's keys talks, whoever made them; nobody else does.

Local runs use ipc, which needs no keys, so nothing else in the unit tests goes this way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from asgd.wire import control
from asgd.wire.control import Keys
from asgd_operator import curve


def from_the_operator() -> Keys:
    made = curve.generate()
    return Keys(made.server_public, made.client_public, made.client_secret, made.server_secret)


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    made: zmq.Context[Any] = zmq.Context()
    yield made
    made.destroy(0)


def heard(context: zmq.Context[Any], servers: Keys, clients: Keys, milliseconds: int) -> bool:
    """Whether a client with `clients` is heard by a shard with `servers`."""
    guard = control.guard(context, servers)
    router = control.router(context, "tcp://127.0.0.1:*", servers)
    dealer = control.dealer(context, router.getsockopt_string(zmq.LAST_ENDPOINT), clients)
    dealer.send(b"hello")
    found = bool(router.poll(milliseconds))
    dealer.close(0)
    router.close(0)
    guard.close()
    return found


@pytest.mark.parametrize("make", [Keys.make, from_the_operator])
def test_a_client_with_the_job_s_keys_is_heard(context: zmq.Context[Any], make: Callable[[], Keys]) -> None:
    keys = make()
    without_secret = Keys(keys.server_public, keys.client_public, keys.client_secret)
    assert heard(context, keys, without_secret, 20_000)


def test_a_client_with_keys_of_its_own_is_not_heard(context: zmq.Context[Any]) -> None:
    keys, other = Keys.make(), Keys.make()
    stranger = Keys(keys.server_public, other.client_public, other.client_secret)
    assert not heard(context, keys, stranger, 1_000)


def test_a_client_that_takes_another_server_for_the_job_s_is_not_heard(context: zmq.Context[Any]) -> None:
    keys = Keys.make()
    deceived = Keys(Keys.make().server_public, keys.client_public, keys.client_secret)
    assert not heard(context, keys, deceived, 1_000)
