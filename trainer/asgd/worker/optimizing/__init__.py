"""Optimizers that users' code has made, a script's or a task's: whose rule servers run, and what steps in workers."""
