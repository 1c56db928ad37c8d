"""`submit`, `follow`, `validate` and `render`: from files here to a job there."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from asgd.client.access import Access, Document
from asgd.client.commands.base import Arguments, Commands, add, add_format, add_job, count, refuse
from asgd.client.documents import keeps_checkpoints
from asgd.client.packing import Packed, pack
from asgd.client.show import listing
from asgd.client.submitting import namespace_for, send
from asgd.client.watching import attend
from asgd.record.run import obstacle
from asgd.spec.evaluators import is_script

_SHORT = {
    "workers": "workers.replicas",
    "shards": "parameterServer.shards",
    "epochs": "stopAfter.epochs",
    "updates": "stopAfter.updates",
    "learning_rate": "optimizer.learningRate",
    "image": "image",
}
"""{option: field}; the names are those of `asgd.run`."""


def add_commands(commands: Commands) -> None:
    submit = add(
        commands,
        "submit",
        _submit,
        "send a job: a YAML, a Python file or a folder",
        "Sends a job. Of a Python file: the function `task` in it, or the script that calls asgd.connect(), with the"
        "\nmodules beside it that it imports. Of a folder: its YAML, or its task.py, train.py or main.py.",
    )
    _add_sources(submit)
    submit.add_argument(
        "-f", "--follow", action="store_true", help="show its progress until its end; Ctrl-C leaves it"
    )
    submit.add_argument("--logs", action="store_true", help="with --follow: what the workers print, too")
    submit.add_argument(
        "--dry-run", choices=("none", "client", "server"), default="none", help="send nothing that stays"
    )
    add_format(submit, "json", "yaml", "name")
    submit.set_defaults(offline=_submit_here)

    follow = add(commands, "follow", _follow, "show a job's progress until its end")
    add_job(follow)
    follow.add_argument("--logs", action="store_true", help="what the workers print, too")

    validate = add(
        commands,
        "validate",
        _validate,
        "check a job here as asgd validate does, and ask the API server (dry run)",
    )
    _add_sources(validate)
    validate.add_argument(
        "--offline", dest="here", action="store_true", help="only here: no cluster is asked"
    )
    validate.set_defaults(offline=_validate_here)

    render = add(commands, "render", _rendered, "print the objects that the operator would make of a job")
    _add_sources(render)
    render.set_defaults(offline=_render)


def _add_sources(command: argparse.ArgumentParser) -> None:
    command.add_argument("path", metavar="PATH", type=Path, help="JOB.yaml, train.py or a folder")
    command.add_argument("--name", default="", help="of the job; default: its file's")
    command.add_argument(
        "--entrypoint", default="", metavar="CALLABLE", help="of a Python file: what returns the task"
    )
    command.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="a field of the spec"
    )
    for name in ("workers", "shards", "epochs", "updates"):
        command.add_argument(f"--{name}", type=count, metavar="N", help=f"as --set {_SHORT[name]}=N")
    command.add_argument(
        "--learning-rate", type=float, metavar="X", help=f"as --set {_SHORT['learning_rate']}=X"
    )
    command.add_argument(
        "--checkpoints",
        default="",
        metavar="CLAIM",
        help="where they and the model outlive the pods: a PersistentVolumeClaim, or a URI as s3://bucket/run",
    )
    command.add_argument(
        "--record",
        default="",
        metavar="CLAIM",
        help="a PersistentVolumeClaim on which it is recorded, for `kubectl asgd replay`; needs --checkpoints",
    )
    command.add_argument("--image", metavar="IMAGE", help="of workers and evaluator; default: the chart's")


def packed(arguments: Arguments) -> Packed:
    """Of the options of `_add_sources`. Raises UserError."""
    short = {field: getattr(arguments, name) for name, field in _SHORT.items()}
    sets = [f"{field}={value}" for field, value in short.items() if value is not None]
    sets += kept_on(arguments.checkpoints) + recorded_on(arguments.record)
    return pack(arguments.path, [*sets, *arguments.set], entrypoint=arguments.entrypoint, name=arguments.name)


def kept_on(place: str) -> list[str]:
    """The settings by which checkpoints are kept on a claim or at a URI; none for ''."""
    if not place or "://" in place:
        return [f"checkpoint.uri={place}"] if place else []
    return ["checkpoint.uri=file:///checkpoints", f"checkpoint.volume={{pvc: {place}}}"]


def recorded_on(claim: str) -> list[str]:
    """The settings by which a job is recorded on a claim; none for ''."""
    return [f"record.pvc={claim}"] if claim else []


def _submit_here(arguments: Arguments) -> int | None:
    """What needs no cluster, and so no kubeconfig."""
    if arguments.dry_run != "client":
        return None
    found = _packed_to_send(arguments)
    namespace_for(found.document, getattr(arguments, "namespace", ""), "default")
    _tell_made(found.document, arguments)
    return 0


def _submit(access: Access, arguments: Arguments) -> int:
    found = _packed_to_send(arguments)
    asked = getattr(arguments, "namespace", "")
    place = access.within(namespace_for(found.document, asked, access.namespace))
    made = send(place, found, dry_run=arguments.dry_run == "server")
    _tell_made(made, arguments)
    if arguments.dry_run != "none":
        return 0
    name = made["metadata"]["name"]
    if arguments.follow:
        return attend(place, name, logs=arguments.logs)
    if not arguments.output:
        print(f"follow it: kubectl asgd follow {name}" + (f" -n {place.namespace}" if asked else ""))
    return 0


def _packed_to_send(arguments: Arguments) -> Packed:
    found = packed(arguments)
    _warn([*found.warnings, *_kept_nowhere(found), *_recorded_in_vain(found)])
    return found


def _tell_made(made: Document, arguments: Arguments) -> None:
    if arguments.output == "name":
        print(listing.full_name(made))
    elif arguments.output:
        print((listing.as_json if arguments.output == "json" else listing.as_yaml)([made], many=False))
    else:
        dry = {"client": " (dry run)", "server": " (server dry run)"}.get(arguments.dry_run, "")
        print(f"{listing.full_name(made)} created{dry}")


def _follow(access: Access, arguments: Arguments) -> int:
    access.job(arguments.name)
    return attend(access, arguments.name, logs=arguments.logs)


def _validate_here(arguments: Arguments) -> int | None:
    if not arguments.here:
        return None
    found = packed(arguments)
    _warn(found.warnings)
    print(f"{arguments.path}: ok ({found.document['metadata']['name']})")
    return 0


def _validate(access: Access, arguments: Arguments) -> int:
    found = packed(arguments)
    _warn(found.warnings)
    name = found.document["metadata"]["name"]
    place = access.within(
        namespace_for(found.document, getattr(arguments, "namespace", ""), access.namespace)
    )
    send(place, found, dry_run=True, again=True)
    print(f"{arguments.path}: ok ({name}), and the API server takes it in namespace {place.namespace}")
    return 0


def _rendered(access: Access, arguments: Arguments) -> int:
    return _render(arguments)


def _render(arguments: Arguments) -> int:
    found = packed(arguments)
    try:
        operator = import_module("asgd_operator.main")
    except ImportError as error:
        raise refuse(
            f"the operator's own code is needed to render a job, and {error.name} is missing: pip install"
            " 'asgd-operator[operator]'"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job.yaml"
        file.write_text(_with_others(found), encoding="utf-8")
        code: int = operator.main(["render", str(file)])
    return code


def _kept_nowhere(found: Packed) -> list[str]:
    if keeps_checkpoints(found.document):
        return []
    return ["its checkpoints and its model go with its pods; --checkpoints CLAIM keeps them"]


def _recorded_in_vain(found: Packed) -> list[str]:
    spec = found.job.spec
    if spec.record is None:
        return []
    # NB: of the data nobody knows before the code runs.
    why = obstacle(spec, script=is_script(spec.entrypoint), dataset=0, restored=False)
    return [f"spec.record: the recording cannot be replayed: {why}"] if why else []


def _with_others(found: Packed) -> str:
    return "\n---\n".join(listing.dumped(each) for each in (*found.others, found.document))


def _warn(warnings: Sequence[str]) -> None:
    for text in warnings:
        print(f"Warning: {text}", file=sys.stderr)
