"""The asynchronous loop of Ray's parameter server tutorial: the driver passes references between actors.

Each worker copies the weights that it is given into its own model and returns gradients; the server sums what it is
given and returns its weights; both are lists of numpy arrays, as there. `ray_actor.py` is the leanest form instead.
"""

import time

import harness
import numpy as np
import ray


@ray.remote(num_cpus=0)
class ParameterServer:
    def __init__(self, sizes):
        self.parameters = [np.zeros(size, np.float32) for size in sizes]

    def apply_gradients(self, *gradients):
        for parameter, parts in zip(self.parameters, zip(*gradients, strict=True), strict=True):
            parameter += np.stack(parts).sum(axis=0)
        return self.parameters

    def get_weights(self):
        return self.parameters

    def probe(self):
        return harness.probe_tensors(self.parameters)


@ray.remote(num_cpus=0)
class DataWorker:
    def __init__(self, sizes):
        self.parameters = [np.zeros(size, np.float32) for size in sizes]
        self.gradients = [np.ones(size, np.float32) for size in sizes]

    def compute_gradients(self, weights):
        for own, given in zip(self.parameters, weights, strict=True):
            own[:] = given
        return self.gradients


if __name__ == "__main__":
    options = harness.options()
    ray.init(include_dashboard=False, configure_logging=False, log_to_driver=False)
    sizes = harness.sizes(options.parameters)
    server = ParameterServer.remote(sizes)
    workers = [DataWorker.remote(sizes) for _ in range(options.workers)]

    def measure(seconds):
        begin = time.monotonic()
        weights = server.get_weights.remote()
        gradients = {worker.compute_gradients.remote(weights): worker for worker in workers}
        updates = 0
        while gradients:
            (ready,), _ = ray.wait(list(gradients))
            worker = gradients.pop(ready)
            weights = server.apply_gradients.remote(ready)
            updates += 1
            if time.monotonic() < begin + seconds:
                gradients[worker.compute_gradients.remote(weights)] = worker
        ray.get(weights)
        took = time.monotonic() - begin
        return {"updates": [updates], "seconds": took, "probe": ray.get(server.probe.remote())}

    first = server.get_weights.remote()
    ray.wait([worker.compute_gradients.remote(first) for worker in workers], num_returns=len(workers))
    harness.serve(measure)
    ray.shutdown()
