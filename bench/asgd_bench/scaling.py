"""The tables of docs/scaling.md, from the cost model and a page's own figures.

    python -m asgd_bench.scaling [results.json]     the page between its marks, to standard output

Without a file the price is REFERENCE. A server's share of an update's CPU time is taken as half: both ends copy the
same bytes, the server adds, the worker encodes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from asgd_bench import derived, model
from asgd_bench.model import Fleet, Price
from asgd_bench.results import Page

SERVER_SHARE = 0.5
REFERENCE = Price(4e-4, 5e-10)
"""CPU-seconds of a whole update, fp32 over TCP, on two cores of an AMD EPYC (Zen 4): 0.4 ms, and 0.5 s for each GB."""
LINK_10 = 1.25e9
LINK_1 = 0.125e9

FLEETS: list[tuple[str, Fleet]] = [
    ("digits CNN, 38 k", Fleet(38_482, 4, 0.02, LINK_10)),
    ("ResNet-50, 26 M", Fleet(25_600_000, 16, 0.25, LINK_10)),
    ("ResNet-50, 26 M", Fleet(25_600_000, 128, 0.25, LINK_10)),
    (
        "ResNet-50, 26 M, bf16",
        Fleet(25_600_000, workers=128, step_seconds=0.25, link=LINK_10, push="bf16", pull="bf16"),
    ),
    ("BERT-large, 340 M, Adam", Fleet(340_000_000, 64, 1.0, LINK_10, optimizer_arrays=2)),
    (
        "BERT-large, 340 M, Adam, bf16",
        Fleet(
            340_000_000,
            workers=64,
            step_seconds=1.0,
            link=LINK_10,
            push="bf16",
            pull="bf16",
            optimizer_arrays=2,
        ),
    ),
    (
        "1 G, 100 local steps a push",
        Fleet(1_000_000_000, workers=64, step_seconds=100.0, link=LINK_10, push="bf16", pull="bf16"),
    ),
    ("ResNet-50, 26 M, at 1 Gbit/s", Fleet(25_600_000, 16, 0.25, LINK_1)),
    (
        "ResNet-50, 26 M, at 1 Gbit/s, int8",
        Fleet(25_600_000, workers=16, step_seconds=0.25, link=LINK_1, push="int8", pull="int8"),
    ),
    (
        "ResNet-50, 26 M, 1,000 workers, 20 local steps",
        Fleet(25_600_000, workers=1000, step_seconds=5.0, link=LINK_10, push="bf16", pull="bf16"),
    ),
    (
        "ResNet-50, 26 M, 4,000 workers, 20 local steps",
        Fleet(25_600_000, workers=4000, step_seconds=5.0, link=LINK_10, push="bf16", pull="bf16"),
    ),
]


def server_price(page: Page | None) -> Price:
    """What an update costs the servers, from a page's figures if it has the sizes, else REFERENCE's share."""
    whole = REFERENCE
    if page:
        costs = derived.measured(page)
        points = [
            (sum(model.payload(round(size * 1e6), "fp32", "fp32")), cost)
            for (name, size, workers), cost in costs.items()
            if name == "ours" and workers == 2
        ]
        whole = model.fit(points)
    return Price(SERVER_SHARE * whole.each, SERVER_SHARE * whole.per_byte)


def table(price: Price) -> str:
    """One row for each fleet of FLEETS."""
    rows = [
        "| model | workers | own step | link | updates/s | shards | decided by | MiB a shard | computing | staleness |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, fleet in FLEETS:
        found = model.need(fleet, price)
        shards = str(found.shards) if found.shards else "none are enough"
        cells = [
            name, f"{fleet.workers:,}", f"{fleet.step_seconds:g} s", f"{fleet.link * 8 / 1e9:g} Gbit/s",
            f"{found.updates_per_second:,.0f}", shards, found.bound, f"{found.server_bytes / (1 << 20):,.0f}",
            f"{found.worker_share:.0%}", f"{found.staleness:,.0f}",
        ]  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main() -> None:
    """Prints the tables."""
    page = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Page) if len(sys.argv) > 1 else None
    price = server_price(page)
    print(
        f"Price on a server: {price.each * 1e3:.2g} ms an update and {price.per_byte * 1e9:.2g} s for each GB.\n"
    )
    print(table(price))


if __name__ == "__main__":
    main()
