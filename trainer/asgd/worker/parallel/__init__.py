"""Model parallelism inside one worker: a chain of layers cut into stages, each on a device of its own.

`chain` finds the layers, `cuts` and `measure` say where to cut them, `schedule` who does what when, `pipeline` runs
it. Between workers nothing changes: the gradient of a batch comes out as one vector.
"""
