"""First-order optimizers: `base.py` says what a step is, `named.py` which there are."""

from asgd.algorithms.optimizers.base import Optimizer, add_scaled
from asgd.algorithms.optimizers.local import LocalOptimizer
from asgd.algorithms.optimizers.named import make_optimizer

__all__ = ["LocalOptimizer", "Optimizer", "add_scaled", "make_optimizer"]
