"""Which fields each optimizer has, and what they are when a job does not give them: the defaults of `torch.optim`.

The CRD gives these fields no default, so that its rules can refuse one that the named optimizer lacks.
"""

from __future__ import annotations

from typing import Any

_NEUTRAL: dict[str, Any] = {
    "momentum": 0.0,
    "nesterov": False,
    "weight_decay": 0.0,
    "betas": (0.9, 0.999),
    "epsilon": 1e-8,
    "alpha": 0.99,
    "rho": 0.9,
    "centered": False,
    "ns_steps": 5,
    "adjust_lr_fn": "original",
}
"""What holds unless `_OWN` says otherwise; of no account where the optimizer lacks the field."""

_OWN: dict[str, dict[str, Any]] = {
    "adamw": {"weight_decay": 0.01},
    "lion": {"betas": (0.9, 0.99)},
    "adadelta": {"epsilon": 1e-6},
    "lamb": {"weight_decay": 0.01, "epsilon": 1e-6},
    "muon": {"weight_decay": 0.1, "momentum": 0.95, "nesterov": True},
}

FIELDS: dict[str, tuple[str, ...]] = {
    "sgd": ("momentum", "nesterov"),
    "adagrad": ("epsilon",),
    "adam": ("betas", "epsilon"),
    "adamw": ("betas", "epsilon"),
    "lion": ("betas",),
    "rmsprop": ("alpha", "centered", "epsilon", "momentum"),
    "adadelta": ("epsilon", "rho"),
    "lamb": ("betas", "epsilon"),
    "muon": ("adjust_lr_fn", "betas", "epsilon", "momentum", "nesterov", "ns_steps"),
}
"""{optimizer: its own fields beside those that all have}"""


def defaults(name: str) -> dict[str, Any]:
    """{field: its value if the job does not give it} of the optimizer `name`."""
    return _NEUTRAL | _OWN.get(name, {})
