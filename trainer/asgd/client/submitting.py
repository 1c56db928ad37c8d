"""Sends a packed job to a cluster, under a name that is free."""

from __future__ import annotations

from asgd.client.access import KIND, Access, Document
from asgd.client.errors import Conflict
from asgd.client.packing import Packed, numbered
from asgd.errors import UserError

_TRIES = 5


def namespace_for(document: Document, asked: str, default: str) -> str:
    """Where a document goes, by kubectl's rule. `asked`: by --namespace. Raises UserError where both differ."""
    own = str(document["metadata"].get("namespace") or "")
    if own and asked and own != asked:
        raise UserError(
            f"error: the namespace of the job, {own!r}, does not match --namespace={asked}: leave one of them out"
        )
    return own or asked or default


def send(access: Access, packed: Packed, *, dry_run: bool = False, again: bool = False) -> Document:
    """Makes the job and what stands beside it in its file; returns it as the API server has it.

    A name that its user has not chosen is numbered where it is taken. `again`: one that is there already may be changed
    (with `dry_run`, to see whether it may). Raises Conflict where the name is taken.
    """
    for other in packed.others:
        access.apply(other, dry_run=dry_run)
    name = packed.document["metadata"]["name"]
    if again and access.find(KIND, name) is not None:
        return access.apply(packed.document, dry_run=dry_run, force=True)
    if packed.named:
        return _create(access, packed.document, dry_run=dry_run)
    for left in reversed(range(_TRIES)):
        free = numbered(name, {each["metadata"]["name"] for each in access.jobs()})
        renamed = {**packed.document, "metadata": {**packed.document["metadata"], "name": free}}
        try:
            return access.create(renamed, dry_run=dry_run)
        except Conflict:
            if not left:  # others have taken one free name after the other
                raise
    raise AssertionError


def _create(access: Access, document: Document, *, dry_run: bool) -> Document:
    try:
        return access.create(document, dry_run=dry_run)
    except Conflict as error:
        name = document["metadata"]["name"]
        raise Conflict(
            f"{error}; choose another name by --name, or delete it: kubectl asgd delete {name}",
            error.code,
            error.reason,
        ) from error
