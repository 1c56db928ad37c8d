"""The limit over sockets: the same bytes by `recv_into` into kept memory, chunk by chunk, no framing and no promises.

`--family unix` takes a unix socket instead of TCP. `--host` and `--network` put the server on an emulated machine.
"""

import os
import select
import socket
import threading

import harness
import numpy as np


def listen(family, host):
    listener = socket.socket(socket.AF_UNIX if family == "unix" else socket.AF_INET)
    listener.bind(f"\0asgd-bench-{os.getpid()}" if family == "unix" else (host, 0))
    listener.listen()
    return listener


def serve(options, told):
    harness.enter_network(options.network)
    listener = listen(options.family, options.host or "127.0.0.1")
    told.put(listener.getsockname())
    parameters = np.zeros(options.parameters, np.float32)
    step = harness.CHUNK_BYTES // 4
    chunks = [parameters[start : start + step] for start in range(0, options.parameters, step)]
    locks = [threading.Lock() for _ in chunks]

    def session(connection):
        kept = np.empty(step, np.float32)
        while True:
            for chunk, lock in zip(chunks, locks, strict=True):
                gradient = kept[: chunk.size]
                if connection.recv_into(gradient, chunk.nbytes, socket.MSG_WAITALL) < chunk.nbytes:
                    return
                with lock:
                    chunk += gradient
                connection.sendall(chunk)

    while True:
        connection, _ = listener.accept()
        tune(connection)
        threading.Thread(target=session, args=(connection,), daemon=True).start()


def tune(connection):
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, 1 << 20)


def exchange(connection, gradient, parameters):
    """Sends the whole gradient while the parameters come in."""
    out, into = memoryview(gradient).cast("B"), memoryview(parameters).cast("B")
    sent = received = 0
    while received < len(into):
        readable, writable, _ = select.select([connection], [connection] if sent < len(out) else [], [])
        if writable:
            sent += connection.send(out[sent : sent + harness.CHUNK_BYTES])
        if readable:
            received += connection.recv_into(into[received:])


def work(index, barrier, address, options):
    connection = socket.socket(socket.AF_UNIX if options.family == "unix" else socket.AF_INET)
    connection.connect(address)
    connection.setblocking(False)
    tune(connection)
    gradient, parameters = np.ones(options.parameters, np.float32), np.zeros(options.parameters, np.float32)

    def look():
        exchange(connection, np.zeros_like(gradient), parameters)
        return harness.probe(parameters)

    for turn in barrier.rounds(index, look):
        while turn():
            exchange(connection, gradient, parameters)


if __name__ == "__main__":
    options = harness.options("family", "host", "network")
    group = harness.ProcessGroup(options.workers)
    told = group.context.Queue()
    group.start(serve, options, told)
    address = told.get(timeout=harness.WAIT_SECONDS)
    for index in range(options.workers):
        group.start(work, index, group.barrier, address, options)
    group.run()
