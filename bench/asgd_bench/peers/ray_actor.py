"""The parameter server of Ray's tutorial: an actor that holds the weights, workers that call it as fast as they can.

Weights and gradients are numpy arrays, which Ray passes through shared memory.
"""

import time

import harness
import numpy as np
import ray


@ray.remote(num_cpus=0)
class Server:
    def __init__(self, sizes):
        self.parameters = [np.zeros(size, np.float32) for size in sizes]

    def update(self, gradients):
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter += gradient
        return self.parameters

    def probe(self):
        return harness.probe_tensors(self.parameters)


@ray.remote(num_cpus=0)
class Worker:
    def __init__(self, server, sizes):
        self.server = server
        self.gradients = [np.ones(size, np.float32) for size in sizes]

    def run(self, deadline):
        count = 0
        while time.monotonic() < deadline:
            ray.get(self.server.update.remote(self.gradients))
            count += 1
        return count


if __name__ == "__main__":
    options = harness.options()
    ray.init(include_dashboard=False, configure_logging=False, log_to_driver=False)
    sizes = harness.sizes(options.parameters)
    server = Server.remote(sizes)
    workers = [Worker.remote(server, sizes) for _ in range(options.workers)]

    def measure(seconds):
        begin = time.monotonic()
        updates = ray.get([worker.run.remote(begin + seconds) for worker in workers])
        took = time.monotonic() - begin
        return {"updates": updates, "seconds": took, "probe": ray.get(server.probe.remote())}

    measure(0.0)
    harness.serve(measure)
    ray.shutdown()
