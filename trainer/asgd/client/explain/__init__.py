"""Why a job is not running, slow or failed: one sentence, the fix, and a command to copy.

Pure: `explain(facts, now)` judges documents as `kubectl -o json` prints them. `gather` of `gathering` collects them.
"""

from asgd.client.explain.facts import Facts
from asgd.client.explain.judge import explain
from asgd.client.explain.kinds import Explanation, Kind, Verdict

__all__ = ["Explanation", "Facts", "Kind", "Verdict", "explain"]
