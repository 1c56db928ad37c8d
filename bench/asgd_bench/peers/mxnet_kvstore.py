"""MXNet's KVStore `dist_async` (ps-lite): push the gradients, the server's optimizer steps, pull the parameters."""

import os
import socket

import harness


def serve(role, environment):
    os.environ.update(environment, DMLC_ROLE=role)
    import mxnet  # noqa: F401  # the import itself serves until the job ends


def work(index, barrier, environment, options):
    os.environ.update(environment, DMLC_ROLE="worker")
    import mxnet as mx

    store = mx.kv.create("dist_async")
    keys = list(range(harness.TENSORS))
    gradients = [mx.nd.empty(size) for size in harness.sizes(options.parameters)]
    parameters = [mx.nd.zeros(size) for size in harness.sizes(options.parameters)]
    store.init(keys, parameters)
    if index == 0:
        store.set_optimizer(mx.optimizer.SGD(learning_rate=1.0, wd=0.0))

    def look():
        store.pull(keys, parameters)
        mx.nd.waitall()
        return harness.probe_tensors([parameter.asnumpy() for parameter in parameters])

    for turn in barrier.rounds(index, look):
        while turn():
            # NB: the store takes the gradients' own memory for what it pulls; backward would fill it anew.
            for gradient in gradients:
                gradient[:] = -1.0
            store.push(keys, gradients)
            store.pull(keys, parameters)
            mx.nd.waitall()


if __name__ == "__main__":
    options = harness.options()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": str(port), "DMLC_NUM_SERVER": "1",
        "DMLC_NUM_WORKER": str(options.workers), "DMLC_INTERFACE": "lo", "DMLC_NODE_HOST": "127.0.0.1",
    }  # fmt: skip
    group = harness.ProcessGroup(options.workers)
    group.start(serve, "scheduler", environment)
    group.start(serve, "server", environment)
    for index in range(options.workers):
        group.start(work, index, group.barrier, environment, options)
    group.run()
