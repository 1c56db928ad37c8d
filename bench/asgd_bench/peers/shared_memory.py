"""The limit on one machine: gradients and parameters in shared memory, a pipe as doorbell, one server that adds.

`--copy yes` lets each worker copy the parameters out; without it they are read in place, as Hogwild's are.
"""

from multiprocessing import connection, shared_memory

import harness
import numpy as np


def attach(name, rows, size):
    memory = shared_memory.SharedMemory(name)
    return memory, np.ndarray((rows, size), np.float32, memory.buf)


def serve(name, bells, options):
    _memory, rows = attach(name, options.workers + 1, options.parameters)
    parameters = rows[0]
    row_of = {bell: rows[index + 1] for index, bell in enumerate(bells)}
    while True:
        for bell in connection.wait(bells):
            bell.recv_bytes()
            parameters += row_of[bell]
            bell.send_bytes(b"1")


def work(index, barrier, name, bell, options):
    _memory, rows = attach(name, options.workers + 1, options.parameters)
    rows[index + 1] = 1.0
    own = np.empty(options.parameters, np.float32)
    for turn in barrier.rounds(index, lambda: harness.probe(rows[0])):
        while turn():
            bell.send_bytes(b"1")
            bell.recv_bytes()
            if options.copy:
                own[:] = rows[0]


if __name__ == "__main__":
    options = harness.options("copy")
    memory = shared_memory.SharedMemory(create=True, size=4 * options.parameters * (options.workers + 1))
    group = harness.ProcessGroup(options.workers)
    pairs = [group.context.Pipe() for _ in range(options.workers)]
    group.start(serve, memory.name, [pair[0] for pair in pairs], options)
    for index in range(options.workers):
        group.start(work, index, group.barrier, memory.name, pairs[index][1], options)
    try:
        group.run()
    finally:
        memory.close()
        memory.unlink()
