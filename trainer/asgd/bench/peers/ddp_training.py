"""Synchronous training by DistributedDataParallel over gloo, of the same examples, for the end-to-end cases.

Reads `{"run": SECONDS, "rate": .., "seed": .., "straggler": .., "metric": .., "target": .., "batch": ..}` lines, trains
anew for each, and answers with samples/s and the curve. Weights are noted down five times a second and evaluated when
the clock has stopped, so that evaluating costs nothing; asgd's evaluator shares the cores and has no such favour.
"""

import copy
import os
import socket
import time

import harness
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from asgd.bench.tasks import EXAMPLES

EVERY_SECONDS = 0.2
AGREE_EVERY = 5
"""Steps between two questions whether the time is up: all ranks must take the same number of steps."""


def optimizer_for(model, run):
    if run.get("optimizer") == "adam":
        return torch.optim.Adam(model.parameters(), lr=run["rate"], betas=(0.0, 0.99))
    return torch.optim.SGD(model.parameters(), lr=run["rate"])


def batches(data, run, rank, world):
    """This rank's share of the samples, shuffled anew in every epoch by all ranks alike."""
    generator = torch.Generator().manual_seed(run["seed"])
    size = run["batch"]
    while True:
        order = torch.randperm(len(data), generator=generator)[rank::world]
        for start in range(0, len(data) // world - size + 1, size):
            yield data.__getitems__(order[start : start + size].tolist())


def train(run, options, rank):
    torch.manual_seed(run["seed"])
    task = EXAMPLES[options.example]()
    model = DistributedDataParallel(task.model)
    optimizer = optimizer_for(model, run)
    pause = float(options.step or 0) * (5 if rank == run.get("straggler", -1) else 1)
    notes, stop = [], torch.zeros(1)
    dist.barrier()
    begin = time.monotonic()
    due, steps = begin, 0
    for batch in batches(task.data, run, rank, options.workers):
        now = time.monotonic()
        if steps % AGREE_EVERY == 0:
            stop[0] = float(now - begin > run["run"])
            dist.all_reduce(stop)
            if stop[0]:
                break
        if rank == 0 and now >= due:
            due = now + EVERY_SECONDS
            notes.append((now - begin, copy.deepcopy(task.model.state_dict())))
        optimizer.zero_grad()
        time.sleep(pause)
        task.loss(model, batch).backward()
        optimizer.step()
        steps += 1
    return steps, time.monotonic() - begin, notes, task


def work(rank, pipe, options):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=options.workers)
    EXAMPLES[options.example]()  # reads the data, once for all runs
    pipe.send("ready")
    while run := pipe.recv():
        steps, seconds, notes, task = train(run, options, rank)
        if rank == 0:
            curve = []
            for at, weights in notes:
                task.model.load_state_dict(weights)
                curve.append((at, task.evaluate(task.model)))
            samples = steps * run["batch"] * options.workers / seconds
            pipe.send({"samples_per_second": samples, "seconds": seconds, "curve": curve})


if __name__ == "__main__":
    options = harness.options("example", "step")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free.getsockname()[1]))
    cast = harness.Cast(options.workers)
    pipes = [cast.context.Pipe() for _ in range(options.workers)]
    for rank in range(options.workers):
        cast.start(work, rank, pipes[rank][1], options)

    def measure(run):
        for pipe, _ in pipes:
            pipe.send(run)
        return pipes[0][0].recv()

    cast.watch()
    for pipe, _ in pipes:
        pipe.recv()
    harness.answer_runs(measure)
