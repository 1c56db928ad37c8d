"""Synchronous training by DistributedDataParallel over gloo, of the same examples, for the end-to-end cases.

Reads `{"run": SECONDS, "rate": .., "seed": .., "straggler": .., "metric": .., "target": .., "batch": .., "every": ..,
"least": ..}` lines, trains anew for each until the target (but `least` seconds) or the time is up, and answers with
samples/s and the curve. Weights are noted down every `every` seconds and evaluated while everybody waits and the clock
stands still, so that evaluating costs nothing; asgd's evaluator shares the cores and has no such favour.
"""

import copy
import os
import socket
import time

import harness
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from asgd_bench.tasks import EXAMPLES

AGREE_EVERY = 5
"""Steps between two questions to rank 0 whether to go on: all ranks must take the same number of steps."""
GO_ON, WAIT, END = 0.0, 1.0, 2.0
"""What rank 0 may want: to evaluate its notes, after which it decides again, or to end the run."""


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


class Watch:
    """Rank 0's look at a run: notes of the weights, their evaluation, and whether the run is over."""

    def __init__(self, run, task):
        self._run, self._task = run, task
        self._judge = copy.deepcopy(task.model)
        self._notes, self.curve = [], []
        self._begin = time.monotonic()
        self._due = self._begin + run["every"]

    def now(self):
        return time.monotonic() - self._begin

    def note(self):
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self._run["every"]
            self._notes.append((self.now(), copy.deepcopy(self._task.model.state_dict())))

    def wish(self):
        met = any(metrics[self._run["metric"]] >= self._run["target"] for _, metrics in self.curve)
        met = met and self.now() >= self._run["least"]
        return END if met or self.now() > self._run["run"] else WAIT if self._notes else GO_ON

    def evaluate(self):
        stopped = time.monotonic()
        for at, weights in self._notes:
            self._judge.load_state_dict(weights)
            self.curve.append((at, self._task.evaluate(self._judge)))
        self._notes = []
        paused = time.monotonic() - stopped
        self._begin, self._due = self._begin + paused, self._due + paused


def over(watch):
    """Whether the run ends here, for everyone alike as rank 0 says; `watch` is None on other ranks."""
    while True:
        word = torch.tensor([watch.wish() if watch else 0.0])
        dist.all_reduce(word)
        if float(word) != WAIT:
            return float(word) == END
        if watch:
            watch.evaluate()
        dist.barrier()


def train(run, options, rank):
    torch.manual_seed(run["seed"])
    task = EXAMPLES[options.example]()
    model = DistributedDataParallel(task.model)
    optimizer = optimizer_for(model, run)
    pause = float(options.step or 0) * (5 if rank == run.get("straggler", -1) else 1)
    dist.barrier()
    watch = Watch(run, task) if rank == 0 else None
    steps = 0
    for batch in batches(task.data, run, rank, options.workers):
        if watch:
            watch.note()
        if steps % AGREE_EVERY == 0 and over(watch):
            break
        optimizer.zero_grad()
        time.sleep(pause)
        task.loss(model, batch).backward()
        optimizer.step()
        steps += 1
    return steps, watch


def work(rank, pipe, options):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=options.workers)
    EXAMPLES[options.example]()  # reads the data, once for all runs
    pipe.send("ready")
    while run := pipe.recv():
        steps, watch = train(run, options, rank)
        if watch:
            seconds = watch.now()
            samples = steps * run["batch"] * options.workers / seconds
            pipe.send({"samples_per_second": samples, "seconds": seconds, "curve": watch.curve})


if __name__ == "__main__":
    options = harness.options("example", "step")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free.getsockname()[1]))
    group = harness.ProcessGroup(options.workers)
    pipes = [group.context.Pipe() for _ in range(options.workers)]
    for rank in range(options.workers):
        group.start(work, rank, pipes[rank][1], options)

    def measure(run):
        for pipe, _ in pipes:
            pipe.send(run)
        return pipes[0][0].recv()

    group.watch()
    for pipe, _ in pipes:
        pipe.recv()
    harness.answer_runs(measure)
