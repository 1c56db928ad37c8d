"""From a job's YAML, a Python file or a folder to the AsgdJob that is sent: what `asgd run` would find here goes along.

Reads files and nothing else. The code stands in `spec.source`; what does not fit there is refused by name.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asgd.client.access import KIND, PLACES
from asgd.client.documents import Document
from asgd.errors import UserError
from asgd.spec import Job, advice, job_of, load_job
from asgd.spec.load import documents, job_as_written, put_sets

API_VERSION = "asgd.dev/v1alpha1"
_YAML = (".yaml", ".yml", ".json")
_MAIN = ("task.py", "train.py", "main.py")
"""Files that a folder's job is looked for in, in this order."""
_TASK = "task"


@dataclass(frozen=True, slots=True)
class Packed:
    """What is to be sent."""

    document: Document
    """The AsgdJob as its user wrote it, with the files that it needs; without defaults."""
    job: Job
    """The same, checked and with defaults."""
    named: bool
    """Its user chose the name."""
    others: list[Document] = field(default_factory=list)
    """What stands beside it in its file, as a claim, in order."""
    warnings: list[str] = field(default_factory=list)


def pack(path: Path, sets: Sequence[str] = (), *, entrypoint: str = "", name: str = "") -> Packed:
    """Of a YAML file, a Python file or a folder. `entrypoint`: the callable of a Python file. Raises UserError."""
    if not path.exists():
        raise UserError(f"{path} does not exist; allowed are a job's YAML, a Python file and a folder")
    if path.is_dir():
        return _of_folder(path, sets, entrypoint, name)
    if path.suffix in _YAML:
        return _of_yaml(path, sets, name)
    if path.suffix == ".py":
        files = with_imports({path.name: read(path)}, path.parent)
        return of_code(files, _entrypoint(path.name, files, entrypoint), sets, name)
    raise UserError(f"{path} must be a job's YAML (.yaml, .yml, .json), a Python file (.py) or a folder")


def of_code(files: Mapping[str, str], entrypoint: str, sets: Sequence[str] = (), name: str = "") -> Packed:
    """Of code in hand. Raises UserError."""
    from asgd.interactive.fields import job_name

    document: Document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name or job_name(entrypoint)},
        "spec": {"entrypoint": entrypoint, "source": dict(files)},
    }
    put_sets(document, sets)
    named = bool(name) or any(each.startswith("metadata.name=") for each in sets)
    job = job_of(copy.deepcopy(document))
    return Packed(document, job, named, warnings=list(advice(job)))


def _of_yaml(path: Path, sets: Sequence[str], name: str) -> Packed:
    sets = [*sets, *([f"metadata.name={name}"] if name else [])]
    job = load_job(path, sets)  # says what is wrong with the lines of the file
    document = job_as_written(path)
    put_sets(document, sets)
    others = [each for each in documents(path) if isinstance(each, dict) and each.get("kind") != KIND]
    for each in others:
        if each.get("kind") not in PLACES:
            raise UserError(
                f"{path} holds a {each.get('kind')} beside its AsgdJob: kubectl apply -f {path} takes such files"
            )
    if job.spec.source_from is None and (code := _code_of(job, path)):
        spec = document["spec"]
        spec["source"] = {**code, **(spec.get("source") or {})}
        job = job_of(copy.deepcopy(document))
    return Packed(document, job, True, others, [*job.hints, *advice(job)])


def _of_folder(folder: Path, sets: Sequence[str], entrypoint: str, name: str) -> Packed:
    jobs = [each for each in sorted(folder.iterdir()) if each.suffix in _YAML and _holds_job(each)]
    if len(jobs) > 1:
        raise UserError(
            f"{folder} holds {len(jobs)} jobs ({', '.join(each.name for each in jobs)}): name one of them"
        )
    if jobs:
        return _of_yaml(jobs[0], sets, name)
    files = {each.name: read(each) for each in sorted(folder.glob("*.py"))}
    file = entrypoint.partition(":")[0] if ".py" in entrypoint else ""
    found = [each for each in ([file] if file else _MAIN) if each in files] or (
        list(files) if len(files) == 1 else []
    )
    if not found:
        raise UserError(
            f"{folder} holds {'no Python file' if not files else 'none of ' + ', '.join(_MAIN)}: say where the task is,"
            " by --entrypoint FILE.py:CALLABLE"
        )
    wanted = entrypoint.partition(":")[2] if file else entrypoint
    return of_code(files, _entrypoint(found[0], files, wanted), sets, name or _free_of(folder.resolve().name))


def _free_of(name: str) -> str:
    """A folder's name where it can be a job's."""
    from asgd.interactive.fields import job_name

    return job_name(f"{name}.py:task")


def _holds_job(path: Path) -> bool:
    try:
        return any(isinstance(each, dict) and each.get("kind") == KIND for each in documents(path))
    except UserError:
        return False


def _code_of(job: Job, path: Path) -> dict[str, str]:
    """The entrypoint's file, and what it imports beside it, where `source` lacks it and `asgd run` would find it."""
    place = job.spec.entrypoint.partition(":")[0]
    name = place if place.endswith(".py") else f"{place}.py"
    if name in job.spec.source or ("." in place and not place.endswith(".py")):
        return {}
    for folder in (Path.cwd(), path.absolute().parent):
        if (folder / name).is_file():
            return with_imports({name: read(folder / name)}, folder)
    if place.endswith(".py"):
        raise UserError(
            f"spec.entrypoint: {name} stands neither in spec.source nor in the current directory or beside {path}"
        )
    return {}  # a module of the image


def with_imports(files: Mapping[str, str], folder: Path) -> dict[str, str]:
    """`files` and the modules of `folder` that they import, these ones' imports too. Raises UserError for a package."""
    found, left = dict(files), list(files)
    while left:
        name = left.pop()
        for module in _imported(found[name], name):
            file = folder / f"{module}.py"
            if (folder / module / "__init__.py").is_file():
                raise UserError(
                    f"{name} imports the package {module}/, and spec.source holds single files: put it into an image"
                    " that is built FROM the trainer image, and name that by --image"
                )
            if file.name not in found and file.is_file():
                found[file.name] = read(file)
                left.append(file.name)
    return found


def _imported(text: str, name: str) -> Iterator[str]:
    """First parts of the modules that a file imports anywhere."""
    for node in ast.walk(_tree(text, name)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _entrypoint(name: str, files: Mapping[str, str], wanted: str) -> str:
    """`train.py:task`, or `train.py` for a script that joins by itself. Raises UserError."""
    if wanted and ":" in wanted:
        return wanted
    tree = _tree(files[name], name)
    functions = [each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.ClassDef)]
    if wanted:
        return f"{name}:{wanted}"
    if _TASK in functions or any(_assigns(each, _TASK) for each in tree.body):
        return f"{name}:{_TASK}"
    if "connect" in {node.attr if isinstance(node, ast.Attribute) else "" for node in ast.walk(tree)} | {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }:
        return name
    known = f"; it defines {', '.join(functions)}" if functions else ""
    raise UserError(
        f"{name} defines no function task and does not call asgd.connect(): say which callable returns the task, by"
        f" --entrypoint NAME{known}"
    )


def _assigns(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.Assign) and any(
        isinstance(each, ast.Name) and each.id == name for each in node.targets
    )


def _tree(text: str, name: str) -> ast.Module:
    try:
        return ast.parse(text, name)
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise UserError(f"{name}{line}: cannot be read: {getattr(error, 'msg', error)}") from None


def read(path: Path) -> str:
    """Raises UserError."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: cannot be read: it is not UTF-8 text") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def numbered(name: str, taken: set[str]) -> str:
    """`name`, or `name-2` and so on where that is taken; at most 40 letters."""
    found, number = name, 1
    while found in taken:
        number += 1
        end = f"-{number}"
        found = name[: 40 - len(end)].rstrip("-") + end
    return found
