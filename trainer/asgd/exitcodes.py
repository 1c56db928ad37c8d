"""Exit codes are an API: the operator's pod failure policy, `asgd run` and users' scripts rely on them."""

DONE = 0
USER_ERROR = 2
BROKEN = 3
"""`asgd simulate --faults`: an invariant does not hold."""
NOT_EVALUATED = 4
"""`asgd run`: trained and saved, but the last evaluation failed."""
TRY_AGAIN = 75
FENCED = 76
"""A parameter server: another run has taken its place in the checkpoint store."""
DIVERGED = 78
INTERRUPTED = 130
DRAINED = 143
