"""What DDP does on CPUs: gradients are summed by gloo's all-reduce, then every worker steps by itself.

The flag that ends a round rides in the same buffer, since all must take the same number of steps. Filling the buffer
stands for DDP's own copy of the gradients into its bucket.
"""

import os
import socket

import harness
import torch
import torch.distributed as dist


def work(index, barrier, options):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=index, world_size=options.workers)
    parameters = torch.zeros(options.parameters)
    bucket = torch.empty(options.parameters + 1)
    for turn in barrier.rounds(index, lambda: harness.probe(parameters)):
        while True:
            bucket.fill_(1.0)
            bucket[-1] = float(turn.over)
            dist.all_reduce(bucket)
            if bucket[-1] > 0:
                break
            parameters.add_(bucket[:-1])
            turn.count += 1


if __name__ == "__main__":
    options = harness.options()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free.getsockname()[1]))
    group = harness.ProcessGroup(options.workers)
    for index in range(options.workers):
        group.start(work, index, group.barrier, options)
    group.run()
