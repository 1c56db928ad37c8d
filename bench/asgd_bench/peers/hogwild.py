"""Hogwild: parameters in shared memory, every worker adds to them in place, no server and no lock (Recht et al. 2011).

Concurrent additions to the same element may be lost, which is Hogwild's bargain: its proof is an upper bound.
"""

import harness
import torch
import torch.multiprocessing


def work(index, barrier, parameters, options):
    torch.set_num_threads(1)
    gradient = torch.ones(options.parameters)
    for turn in barrier.rounds(index, lambda: harness.probe(parameters)):
        while turn():
            parameters.add_(gradient)


if __name__ == "__main__":
    options = harness.options()
    torch.multiprocessing.set_sharing_strategy("file_system")
    group = harness.ProcessGroup(options.workers)
    group.context = torch.multiprocessing.get_context("spawn")
    parameters = torch.zeros(options.parameters).share_memory_()
    for index in range(options.workers):
        group.start(work, index, group.barrier, parameters, options)
    group.run()
