"""Accuracy against bytes: a job simulated with each pair of codecs and several seeds, as a Markdown table.

    .venv/bin/python tools/codec_accuracy.py examples/digits.yaml --seeds 5

Virtual time, one process, the same bits each time: `asgd simulate` with other words. Bytes are payload both ways, the
whole pulls of joins included; the accuracy is that of the job's answer at its end.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from statistics import median

from asgd.drivers.virtual.simulation import Simulation
from asgd.spec import load_job
from asgd.spec.environment import Env
from asgd.worker.shared import TorchWork
from asgd.world.models import World, compute_time

PAIRS = [
    "fp32/fp32", "bf16/bf16", "fp16/fp16", "int8/fp32", "int8/int8", "topk:0.01/fp32", "topk:0.01/int8",
    "topk:0.01/topk:0.1", "topk:0.01/topk:0.05", "onebit/int8", "onebit/onebit",
]  # fmt: skip


def settings(pair: str) -> list[str]:
    """`push[:ratio]/pull[:ratio]` as `--set` words."""
    words = []
    for (way, ratio), part in zip(
        (("push", "topRatio"), ("pull", "pullTopRatio")), pair.split("/"), strict=True
    ):
        name, _, share = part.partition(":")
        words += [f"codec.{way}={name}"] + ([f"codec.{ratio}={share}"] if share else [])
    return words


def simulated(path: Path, words: list[str]) -> tuple[float, int]:
    """The (accuracy in percent, payload bytes) of one run."""
    job = load_job(path, words)
    os.environ[Env.JOB_FOLDER] = str(path.parent)
    status = Simulation(job, TorchWork(job.spec), World(compute=compute_time("lognormal:0.1,0.1"))).run()
    return 100 * status.metrics["accuracy"], status.bytes_sent + status.bytes_received


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", type=Path)
    parser.add_argument("pairs", nargs="*", default=PAIRS, metavar="PUSH/PULL")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    arguments = parser.parse_args()
    plain = 0.0
    print("| push / pull | fewer bytes | accuracy, median [min..max] |\n|---|---|---|")
    for pair in arguments.pairs:
        runs = [
            simulated(
                arguments.job, [*arguments.set, *settings(pair), f"seed={seed}", "evaluation.everySeconds=0"]
            )
            for seed in range(arguments.seeds)
        ]
        sizes, scores = [size for _, size in runs], [score for score, _ in runs]
        plain = plain or median(sizes)
        told = f"{median(scores):.2f} [{min(scores):.2f}..{max(scores):.2f}]"
        print(f"| {pair} | {plain / median(sizes):.1f}x | {told} |", flush=True)


if __name__ == "__main__":
    main()
