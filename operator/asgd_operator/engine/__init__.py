"""The operator's drivers: the work queue, and the loop that observes, asks the plan and carries it out."""
