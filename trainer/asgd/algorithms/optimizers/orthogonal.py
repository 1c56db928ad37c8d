"""The Newton-Schulz iteration of Muon: a matrix near the orthogonal one that is nearest to a given matrix.

Five steps of a quintic bring singular values to between about 0.7 and 1.2, with the coefficients of Jordan et al. 2024.
Torch vectors are iterated in bfloat16, as `torch.optim.Muon` does, and numpy arrays, which lack it, in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

A, B, C = 3.4445, -4.7750, 2.0315
EPSILON = 1e-7
"""The smallest norm that a matrix is divided by."""


def orthogonal(matrix: Any, steps: int) -> Any:
    """Of (rows, columns); `matrix` is not changed."""
    plain = isinstance(matrix, np.ndarray)
    x = matrix.copy() if plain else matrix.bfloat16()
    rows, columns = x.shape
    if rows > columns:
        x = x.T
    x = x / max(float(np.linalg.norm(x)), EPSILON) if plain else x / x.norm().clamp(min=EPSILON)
    for _ in range(steps):
        gram = x @ x.T
        if plain:
            x = A * x + (B * gram + C * (gram @ gram)) @ x
        else:
            x = x.addmm(gram.addmm(gram, gram, beta=B, alpha=C), x, beta=A)
    return x.T if rows > columns else x
