"""Peers of a machine that is lost do not wait for the kernel to give it up, which takes minutes."""

from __future__ import annotations

import socket
import time

import zmq

from asgd.wire import control


def test_an_attempt_to_connect_that_nobody_answers_is_given_up_and_made_again() -> None:
    with socket.socket() as deaf, zmq.Context() as context:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        # What fills the queue of a listener that accepts nobody: from then on attempts go unanswered.
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        time.sleep(0.2)
        dealer = control.dealer(context, f"tcp://{address[0]}:{address[1]}", None)
        events = dealer.get_monitor_socket(zmq.EVENT_CONNECT_RETRIED)
        try:
            assert events.poll(10 * control.CONNECT_MS), "the first attempt still stands"
        finally:
            dealer.disable_monitor()
            dealer.close(0)
            for each in waiting:
                each.close()


def test_a_connection_to_another_machine_that_falls_silent_is_given_up_in_seconds() -> None:
    with zmq.Context() as context, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        dealer = control.dealer(context, f"tcp://0:{silent.getsockname()[1]}", None)
        assert 0 < dealer.heartbeat_ivl < dealer.heartbeat_timeout <= 10_000
        dealer.close(0)
