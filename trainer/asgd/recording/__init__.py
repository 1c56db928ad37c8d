"""What a run writes down so that `asgd replay` can execute it again: the order in which things happened.

Each shard and each worker appends to a log of its own. A shard notes what changed it and whom it told weights, in its
order; a worker notes which of those answers it took, its leases and when it was told to leave. Everything else
(gradients, versions, verdicts, samples) follows from executing the same code again. Why so: docs/decisions/005.
"""
