"""A parameter server in thirty lines of pyzmq: the gradient in one frame, the parameters back in one frame."""

import harness
import numpy as np
import zmq


def serve(address, options):
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.bind(address)
    parameters = np.zeros(options.parameters, np.float32)
    while True:
        sender, gradient = socket.recv_multipart()
        if gradient:
            parameters += np.frombuffer(gradient, np.float32)
        socket.send_multipart([sender, parameters])


def work(index, barrier, address, options):
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(address)
    gradient = np.ones(options.parameters, np.float32)

    def exchange(push):
        socket.send(push, copy=False)
        return np.frombuffer(socket.recv(copy=False).buffer, np.float32)

    for turn in barrier.rounds(index, lambda: harness.probe(exchange(b""))):
        while turn():
            exchange(gradient)


if __name__ == "__main__":
    import socket as sockets

    options = harness.options()
    with sockets.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    group = harness.ProcessGroup(options.workers)
    group.start(serve, address, options)
    for index in range(options.workers):
        group.start(work, index, group.barrier, address, options)
    group.run()
