"""Merges a user's `podTemplate` into the rendered one. The rule, as users are told it:

* mappings merge key by key; `null` removes a key; any other value replaces ours;
* lists whose items are known by a name merge item by item (`KEYS`): an item of the same name merges into
  ours, a new one is added behind; `{name: x, $patch: delete}` removes ours;
* every other list (`command`, `args`, `matchExpressions`) is replaced as a whole.

That is the strategic merge of `kubectl patch` for the lists that pods have, without the server's type tables.
"""

from __future__ import annotations

import copy
from typing import Any

KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "resourceClaims": ("name",),
    "schedulingGates": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "protocol"),
    "hostAliases": ("ip",),
    "tolerations": ("key", "effect", "value"),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
"""Field name -> the fields that tell its items apart."""
DEFAULTS = {"protocol": "TCP"}


def merge(base: Any, patch: Any, field: str = "") -> Any:
    """`base` with `patch` merged into it; neither is changed. `field` is the name under which both stand."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return _mappings(base, patch)
    if isinstance(base, list) and isinstance(patch, list) and field in KEYS:
        return _named_lists(base, patch, KEYS[field])
    return copy.deepcopy(patch)


def _mappings(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(base)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value, key)
    return merged


def _named_lists(base: list[Any], patch: list[Any], by: tuple[str, ...]) -> list[Any]:
    merged = {_identity(item, by): copy.deepcopy(item) for item in base}
    for item in patch:
        identity = _identity(item, by)
        if isinstance(item, dict) and item.get("$patch") == "delete":
            merged.pop(identity, None)
        elif identity in merged:
            merged[identity] = _item(merged[identity], item, by)
        else:
            merged[identity] = copy.deepcopy(item)
    return list(merged.values())


def _item(base: Any, patch: Any, by: tuple[str, ...]) -> Any:
    """A volume or a variable is a union: naming another source (another key beside the name) replaces the
    first."""
    if isinstance(base, dict) and isinstance(patch, dict) and _is_union(base, patch, by):
        return copy.deepcopy(patch)
    return merge(base, patch)


def _is_union(base: dict[str, Any], patch: dict[str, Any], by: tuple[str, ...]) -> bool:
    ours, theirs = base.keys() - set(by), patch.keys() - set(by)
    return by == ("name",) and len(ours) == 1 and len(theirs) == 1 and ours != theirs


def _identity(item: Any, by: tuple[str, ...]) -> tuple[str, ...]:
    """Comparable for any JSON: what is malformed is kept as it is, and the API server says what is wrong with
    it."""
    if not isinstance(item, dict):
        return ("", repr(item))
    return tuple(repr(item.get(key, DEFAULTS.get(key))) for key in by)
