"""Small models: at 5,000 parameters the bytes cost nothing and the price of a message is everything."""

from __future__ import annotations

from asgd_bench import lanes
from asgd_bench.plan import Plan
from asgd_bench.results import Table
from asgd_bench.systems import Maker, make_all, our, peer

NAME = "small-messages"
ABOUT = "updates of a model with 5,000 parameters over TCP"
SLOW = False

PARAMETERS = 5_000
WORKERS = 2


def run(plan: Plan) -> list[Table]:
    """One table over TCP."""
    lane = lanes.between_machines()
    field: list[tuple[str, Maker]] = [
        ("ours", our(lane)),
        ("ours, encrypted", our(lane, "--encryption=Sealed")),
    ]
    if lane != "zmq":
        field.insert(1, ("ours, ZeroMQ lane", our("zmq")))
    if not plan.tiny:
        field += [
            ("torch RPC, TCP", peer("torch", "torch_rpc", "--transport=tcp")),
        ]
    if not plan.tiny and not plan.quick:
        field += [
            ("gloo all-reduce (DDP)", peer("torch", "gloo_allreduce")),
            ("Ray actor", peer("ray", "ray_actor")),
        ]
    field += [
        ("plain pyzmq", peer("zmq", "plain_zmq")),
        ("bare TCP sockets (limit)", peer("numpy", "bare_sockets")),
    ]
    systems, refused = make_all(field, PARAMETERS, WORKERS)
    lines = plan.measure(systems, refused=refused)
    title = f"TCP, {PARAMETERS:,} parameters, {WORKERS} workers"
    return [Table(title, "updates/s", lines, "ours")]
