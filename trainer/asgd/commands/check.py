"""`asgd check DIR`: reads every save of a checkpoint store, and a run's model and recording, and says what is whole.

DIR is what `asgd run` wrote to, or a checkpoint store under any URI. Nothing is changed.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from asgd import exitcodes
from asgd.drivers.model_file import check_model
from asgd.errors import TryAgain, UserError
from asgd.record import run as recording
from asgd.report import units
from asgd.server.manifest import Manifest
from asgd.server.saves import best
from asgd.server.saves.reading import prove, read_manifest
from asgd.server.saves.store import Store
from asgd.spec import load_job

_PREFIX = "spec.checkpoint.restore: "
_OWN = re.compile(r"manifest-shard-(\d+)\.json")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and what came of it. `bad`: it was whole once and is not now."""

    name: str
    state: str
    about: str
    bad: bool = False

    def __str__(self) -> str:
        return f"{self.name:18} {self.state:11} {self.about}".rstrip()


def run(place: str) -> int:
    """Prints a line for each file or save; returns 0 when all are whole, else 2. Raises UserError for no store."""
    found: list[Finding] = []
    for finding in _look(place):
        print(finding, flush=True)
        found.append(finding)
    bad = sum(finding.bad for finding in found)
    print(f"{bad} of {len(found)} are damaged" if bad else f"nothing is damaged ({len(found)} looked at)")
    return exitcodes.USER_ERROR if bad else exitcodes.DONE


def _look(place: str) -> Iterator[Finding]:
    folder = Path(place)
    output = (folder / "job.yaml").exists()
    if "://" not in place and not folder.is_dir():
        raise UserError(f"DIR: {place} is no folder and no URI")
    store = Store(_store_of(folder) if output else place, make=False)
    begun = store.begun()
    if not output and not begun:
        raise UserError(f"DIR: {place} holds no checkpoint and no run of `asgd run`")
    for number in begun:
        found = _save(store, number)
        # NB: a run that goes on may have removed it while it was read.
        if not found.bad or number in store.begun():
            yield found
    yield from _best(Store(best.place(store.uri), make=False))
    if output:
        yield from _files(folder)


def _store_of(output: Path) -> str:
    """Where a run saves."""
    try:
        uri = load_job(output / "job.yaml").spec.checkpoint.uri
    except UserError:  # of another version
        uri = ""
    return uri or str(output / "checkpoints")


def _save(store: Store, number: int) -> Finding:
    folder, name = store.path(f"{number:06d}"), f"{number:06d}"
    files = {posixpath.basename(path) for path in store.fs.ls(folder, detail=False)}
    own = [match for file in sorted(files) if (match := _OWN.fullmatch(file))]
    if "manifest.json" not in files and not own:
        return Finding(name, "incomplete", "it is being written, or was given up; nobody reads it")
    try:
        if "manifest.json" in files:
            manifest = read_manifest(store.fs, folder)
            prove(store.fs, folder, manifest)
        for match in own:
            manifest = read_manifest(store.fs, folder, match[0])
            prove(
                store.fs,
                folder,
                manifest,
                [p for p in manifest.parts if p.file.startswith(f"shard-{match[1]}-")],
            )
    except UserError as error:
        return Finding(name, "damaged", str(error).removeprefix(_PREFIX), bad=True)
    state = "whole" if all(part.header_crc32 is not None for part in manifest.parts) else "complete"
    return Finding(name, state, _about(manifest))


def _best(store: Store) -> Iterator[Finding]:
    """The model of the best evaluation."""
    try:
        if record := best.read(store):
            with TemporaryDirectory(prefix="asgd-") as folder:
                copy = Path(folder) / "model.safetensors"
                store.fs.get_file(best.path_of(store, record), str(copy))
                check_model(copy)
            about = f"{record.metric} {record.value:g} at update {record.updates:,}"
            yield Finding(best.FOLDER, "whole", about)
    except (UserError, TryAgain, OSError) as error:
        yield Finding(best.FOLDER, "damaged", str(error), bad=True)


def _about(manifest: Manifest) -> str:
    size = sum(part.bytes for part in manifest.parts)
    when = datetime.fromtimestamp(manifest.time, UTC)
    proved = all(part.header_crc32 is not None for part in manifest.parts)
    return (
        f"{units.plural(manifest.updates, 'update')}, {manifest.size:,} parameters, {size / 1e6:,.1f} MB in"
        f" {units.plural(len(manifest.parts), 'part')}, {when:%Y-%m-%d %H:%M:%S} UTC"
        + ("" if proved else "; without checksums, by an earlier version")
    )


def _files(folder: Path) -> Iterator[Finding]:
    """The model and the recording of a run."""
    log = folder / "replay"
    for name in ("model.safetensors", "model-ema.safetensors", "model-best.safetensors"):
        model = folder / name
        if not model.exists():
            continue
        try:
            proved = check_model(model)
            yield Finding(
                model.name, "whole" if proved else "complete", "" if proved else "without a checksum"
            )
        except (UserError, OSError) as error:
            yield Finding(model.name, "damaged", str(error), bad=True)
    if (log / "run.json").exists():
        try:
            record = recording.read(log)
            recording.check(log, record)
            state = (
                ("whole", "")
                if record.files
                else ("incomplete", "the run goes on, or did not come to its end")
            )
            yield Finding(log.name, *state)
        except UserError as error:
            yield Finding(log.name, "damaged", str(error), bad=True)
