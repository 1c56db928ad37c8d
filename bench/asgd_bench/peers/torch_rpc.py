"""The parameter server of PyTorch's RPC tutorial: one call pushes the gradient and returns the parameters.

`--transport tcp` is what two machines get; without it TensorPipe picks shared memory and cross-memory attach.
"""

import os
import socket
import threading

import harness
import torch
from torch.distributed import rpc


class Server:
    def __init__(self, sizes):
        self.parameters = [torch.zeros(size) for size in sizes]
        self.lock = threading.Lock()

    def update(self, gradients):
        with self.lock:
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                parameter.add_(gradient)
            return self.parameters


instance = None


def update(gradients):
    return instance.update(gradients)


def parameters():
    return instance.parameters


def join(name, rank, world, transport):
    torch.set_num_threads(1)
    choice = {"_transports": ["uv"], "_channels": ["basic"]} if transport == "tcp" else {}
    backend = rpc.TensorPipeRpcBackendOptions(rpc_timeout=60, init_method="env://", **choice)
    rpc.init_rpc(name, rank=rank, world_size=world, rpc_backend_options=backend)


def serve(options):
    global instance
    instance = Server(harness.sizes(options.parameters))
    join("server", 0, options.workers + 1, options.transport)
    rpc.shutdown()


def work(index, barrier, options):
    join(f"worker{index}", index + 1, options.workers + 1, options.transport)
    gradients = [torch.ones(size) for size in harness.sizes(options.parameters)]
    look = lambda: harness.probe_tensors(rpc.rpc_sync("server", parameters))  # noqa: E731
    for turn in barrier.rounds(index, look):
        while turn():
            rpc.rpc_sync("server", update, args=(gradients,))


if __name__ == "__main__":
    options = harness.options("transport")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free.getsockname()[1]))
    group = harness.ProcessGroup(options.workers)
    group.start(serve, options)
    for index in range(options.workers):
        group.start(work, index, group.barrier, options)
    group.run()
