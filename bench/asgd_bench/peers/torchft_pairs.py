"""The pattern of torchft's parameter server: each worker has a gloo group of two with the server, one thread there.

Own small script on torch.distributed alone: torchft's prototype adds sessions over HTTP, which cost nothing per update.
"""

import socket
import threading
from datetime import timedelta

import harness
import torch
import torch.distributed as dist

WAIT = timedelta(seconds=600)


def pair(port, index, rank):
    """The group of worker `index` (rank 1) and the server (rank 0)."""
    store = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=WAIT)
    return dist.ProcessGroupGloo(dist.PrefixStore(str(index), store), rank, 2, WAIT)


def complete(works):
    for work in works:
        work.wait()


def serve(port, options):
    torch.set_num_threads(1)
    parameters = [torch.zeros(size) for size in harness.sizes(options.parameters)]
    lock = threading.Lock()

    def session(index):
        group = pair(port, index, 0)
        gradients = [torch.empty_like(parameter) for parameter in parameters]
        while True:
            complete([group.recv([gradient], 1, 0) for gradient in gradients])
            with lock:
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.add_(gradient)
            complete([group.send([parameter], 1, 0) for parameter in parameters])

    threads = [threading.Thread(target=session, args=(index,)) for index in range(options.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def work(index, barrier, port, options):
    torch.set_num_threads(1)
    group = pair(port, index, 1)
    gradients = [torch.ones(size) for size in harness.sizes(options.parameters)]
    parameters = [torch.zeros(size) for size in harness.sizes(options.parameters)]

    def exchange(push):
        complete([group.send([gradient], 0, 0) for gradient in push])
        complete([group.recv([parameter], 0, 0) for parameter in parameters])

    def look():
        exchange([torch.zeros(size) for size in harness.sizes(options.parameters)])
        return harness.probe_tensors(parameters)

    for turn in barrier.rounds(index, look):
        while turn():
            exchange(gradients)


if __name__ == "__main__":
    options = harness.options()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, timeout=WAIT)
    group = harness.ProcessGroup(options.workers)
    group.start(serve, port, options)
    for index in range(options.workers):
        group.start(work, index, group.barrier, port, options)
    group.run()
