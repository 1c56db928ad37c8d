"""The update path: every worker pushes a whole gradient and takes whole parameters back, as fast as it can.

Two races for each size: over TCP, which is what two machines get, and on the same host, where memory can be shared.
"""

from __future__ import annotations

from asgd_bench import lanes
from asgd_bench.plan import Plan
from asgd_bench.results import Table
from asgd_bench.systems import BF16, Maker, make_all, our, peer

NAME = "update-path"
ABOUT = "push a whole fp32 gradient, take whole parameters back"
SLOW = False

SIZES = [(1_000_000, 2), (10_000_000, 2), (10_000_000, 4), (50_000_000, 2)]
QUICK = [(10_000_000, 2)]
TINY = [(20_000, 2)]
COMPARED = 10_000_000
"""The size at which the whole field takes part, with two workers; elsewhere those that the goals are about."""


def run(plan: Plan) -> list[Table]:
    """Two tables for each size and number of workers."""
    tables = []
    for parameters, workers in TINY if plan.tiny else QUICK if plan.quick else SIZES:
        size = f"{parameters / 1e6:g}M parameters, {workers} workers"
        for place, makers in (
            ("TCP", over_tcp(plan, parameters, workers)),
            ("same host", same_host(plan, parameters)),
        ):
            systems, refused = make_all(makers, parameters, workers)
            lines = plan.measure(systems, refused=refused)
            tables.append(Table(f"{place}, {size}", "updates/s", lines, "ours"))
    return tables


def over_tcp(plan: Plan, parameters: int, workers: int) -> list[tuple[str, Maker]]:
    """Ours in its variants, the peers, and bare sockets as the limit."""
    lane = lanes.between_machines()
    bf16 = ("--set=codec.push=bf16", "--set=codec.pull=bf16")
    field: list[tuple[str, Maker]] = [
        ("ours", our(lane)),
        ("ours, encrypted", our(lane, "--encryption=Sealed")),
        ("ours, bf16", our(lane, *bf16, tolerance=BF16)),
    ]
    light: list[tuple[str, Maker]] = [("bare TCP sockets (limit)", peer("numpy", "bare_sockets"))]
    heavy: list[tuple[str, Maker]] = [
        ("torch RPC, TCP", peer("torch", "torch_rpc", "--transport=tcp")),
        ("torchft pattern (gloo pairs)", peer("torch", "torchft_pairs")),
    ]
    if parameters == COMPARED:
        heavy += [
            ("MXNet kvstore (ps-lite)", peer("mxnet", "mxnet_kvstore")),
            ("Ray, its tutorial", peer("ray", "ray_tutorial")),
            ("Ray actor, leanest", peer("ray", "ray_actor")),
        ]
    if (parameters, workers, plan.quick) == (COMPARED, 2, False) or plan.tiny:
        sealed = our(lane, *bf16, "--encryption=Sealed", tolerance=BF16)
        field += [("ours, ZeroMQ lane", our("zmq")), ("ours, bf16, encrypted", sealed)]
        light.insert(0, ("plain pyzmq", peer("zmq", "plain_zmq")))
        heavy.append(("gloo all-reduce (DDP)", peer("torch", "gloo_allreduce")))
    return field + light if plan.tiny else field + heavy + light


def same_host(plan: Plan, parameters: int) -> list[tuple[str, Maker]]:
    """Ours on its fastest lane, copied and read in place, torch RPC at its best, Hogwild, and the limits."""
    lane = lanes.same_host()
    in_place = "--set=exchange.readInPlace=true"
    field: list[tuple[str, Maker]] = [
        ("ours", our(lane, "--endpoint=ipc", shards=2)),
        ("ours, read in place", our(lane, "--endpoint=ipc", in_place, shards=2)),
    ]
    limits: list[tuple[str, Maker]] = []
    if parameters == COMPARED or plan.tiny:
        field.append(("ours, 1 shard", our(lane, "--endpoint=ipc")))
        limits += [
            ("bare unix sockets", peer("numpy", "bare_sockets", "--family=unix")),
            ("shared memory, copied out (limit)", peer("numpy", "shared_memory", "--copy=yes")),
            ("shared memory, read in place (limit)", peer("numpy", "shared_memory")),
        ]
    heavy: list[tuple[str, Maker]] = [
        ("torch RPC, shared memory", peer("torch", "torch_rpc")),
        ("Hogwild (may lose updates)", peer("torch", "hogwild", exact=False)),
    ]
    return field + limits if plan.tiny else field + heavy + limits
