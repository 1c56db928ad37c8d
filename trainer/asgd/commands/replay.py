"""`asgd replay DIR`: executes a recorded run again, in its recorded order, and compares the final weights bit by bit.

One process and no sockets; the shards, the strategies, the replicas and the users' code are the very same. Exits with 0
only when the weights are equal, with 1 when they are not: then it says which push was the first to differ.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct
from safetensors.numpy import save_file

from asgd import exitcodes
from asgd.drivers.replay.server import Differs
from asgd.drivers.replay.stage import Ending, Stage
from asgd.errors import UserError
from asgd.host.ranks import drop_ranks
from asgd.kernel import F32
from asgd.record import run as recording
from asgd.record.reading import Recording, load
from asgd.report import units
from asgd.wire.partition import by_name
from asgd.worker.device.flat import layout_of
from asgd.worker.task.build import build_task
from asgd.worker.task.entrypoint import code_in

DIFFERENT = 1


class Result(Struct, rename="camel"):
    """What `--json` prints."""

    equal: bool | None
    """None: there is nothing to compare, as with --until, or after a run that left no weights."""
    updates: int
    versions: list[int]
    """Of each shard."""
    weights_sha256: str
    recorded_sha256: str
    difference: str = ""
    """The first push that differs from the run's."""


def main(folder: Path, until: int | None, dump: str | None, *, as_json: bool) -> int:
    """Replays the run in `folder`; returns the exit code. Raises UserError."""
    result, said = replay(folder, until, dump)
    print(msgspec.json.encode(result).decode() if as_json else said)
    return DIFFERENT if result.equal is False else exitcodes.DONE


def replay(folder: Path, until: int | None, dump: str | None) -> tuple[Result, str]:
    """What came of it, and the same in words. Raises UserError."""
    if until is not None and until < 1:
        raise UserError(f"--until: {until} is no update; allowed: 1 and more")
    recorded = load(folder)
    drop_ranks()
    with code_in(folder.absolute() / recorded.run.job_folder):
        try:
            ending = Stage(recorded, until).run()
        except Differs as error:
            result = Result(False, 0, [], "", recorded.run.weights, str(error))
        else:
            result = _compare(recorded, ending, until)
            if dump is not None:
                _dump(Path(dump), ending.weights, recorded)
    return result, _say(result, recorded, until)


def _compare(recorded: Recording, ending: Ending, until: int | None) -> Result:
    wanted = recorded.run.weights
    found = "" if ending.weights is None else recording.weights_hash([ending.weights])
    equal = found == wanted if until is None and wanted else None
    return Result(equal, ending.updates, ending.versions, found, wanted)


def _say(result: Result, recorded: Recording, until: int | None) -> str:
    if result.difference:
        return f"different  {result.difference}{_packages(recorded)}"
    workers = units.plural(len({index for index, _ in recorded.workers}), "worker")
    shards = units.plural(len(recorded.shards), "shard")
    lines = [f"replayed   {units.plural(result.updates, 'update')} of {workers} on {shards}"]
    if until is not None:
        lines.append(
            f"weights    sha256 {result.weights_sha256}, versions {', '.join(map(str, result.versions))}"
        )
    elif result.equal is None:
        lines.append("equal      in every push; the run left no final weights to compare")
    elif result.equal:
        lines.append(f"equal      sha256 {result.weights_sha256}")
    else:
        lines.append(f"different  sha256 {result.weights_sha256}, recorded {result.recorded_sha256}")
    return "\n".join(lines)


def _packages(recorded: Recording) -> str:
    """Which packages are not those of the run: the likeliest cause."""
    here = recording.packages()
    other = [
        f"{name} {there}, here {here.get(name)}"
        for name, there in recorded.run.packages.items()
        if here.get(name) != there
    ]
    if other:
        return f" (the run had {'; '.join(other)})"
    return ": the entrypoint does not compute the same twice, or something outside has changed"


def _dump(path: Path, weights: F32 | None, recorded: Recording) -> None:
    if weights is None:
        raise UserError(f"--dump: {path} was not written: the run left no final weights")
    named = by_name(weights, layout_of(build_task(recorded.job.spec).model))
    try:
        save_file(named, path)
    except OSError as error:
        raise UserError(f"--dump: {path} cannot be written: {error.strerror or error}") from error
