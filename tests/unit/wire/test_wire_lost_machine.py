"""Peers of a machine that is lost do not wait for the kernel to give it up, which takes minutes."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest
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


def pump(source: socket.socket, target: socket.socket, silent: threading.Event) -> None:
    """Hands on what comes until it is to be silent; the kernel still takes it all then, so only pings can tell."""
    with suppress(OSError):
        while data := source.recv(65_536):
            if not silent.is_set():
                target.sendall(data)


@pytest.mark.slow
def test_a_connection_to_another_machine_that_falls_silent_is_given_up_in_seconds() -> None:
    silent = threading.Event()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, socket.socket() as between:
        behind = router.bind_to_random_port("tcp://127.0.0.1")
        between.bind(("0.0.0.0", 0))
        between.listen()
        # "0" is this machine too, but does not look like it.
        dealer = control.dealer(context, f"tcp://0:{between.getsockname()[1]}", None)
        events = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        near, _ = between.accept()
        far = socket.create_connection(("127.0.0.1", behind))
        for pair in ((near, far), (far, near)):
            threading.Thread(target=pump, args=(*pair, silent), daemon=True).start()
        try:
            dealer.send(b"hello")
            assert router.recv_multipart()[1] == b"hello"
            silent.set()
            assert events.poll(6 * control.SILENT_MS), "the connection still stands"
        finally:
            dealer.disable_monitor()
            dealer.close(0)
            near.close()
            far.close()
