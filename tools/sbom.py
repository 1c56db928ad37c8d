"""What an image holds, in CycloneDX: Python packages from uv's account of uv.lock, Debian's from the image itself.

The account is of all platforms and says when it was made and by a random number; here it is of the images' platform,
and the same for the same lock file.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from packaging.markers import Marker

IMAGES = {
    "slim": ["operator", "page", "s3", "tracing"],
    "trainer": ["trainer", "examples", "s3", "tracing"],
}
"""{target of the Dockerfile: extras that it installs}."""
PLATFORM = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.13.5",
    "python_version": "3.13",
    "sys_platform": "linux",
}
"""Debian trixie's Python, on which the images are built."""
PROJECT = "asgd-operator"
_FIELD = re.compile(r"^(Package|Version|Architecture): (.+)$", re.M)
_INSTALLED = re.compile(r"/site-packages/([^/]+)-([^/-]+)\.dist-info/METADATA$")


def of_image(account: str, image: str, version: str, epoch: int) -> str:
    """The SBOM of `image` as JSON, dated `epoch` (Unix seconds)."""
    bom: dict[str, Any] = json.loads(account)
    bom["components"] = [component for component in bom["components"] if _installed(component)]
    known = {component["bom-ref"] for component in bom["components"]}
    root = bom["metadata"]["component"]
    root.update({"type": "container", "name": f"{PROJECT}/{image}", "version": version})
    bom["dependencies"] = [
        {**found, "dependsOn": [ref for ref in found.get("dependsOn", ()) if ref in known]}
        for found in bom["dependencies"]
        if found["ref"] in known | {root["bom-ref"]}
    ]
    bom["metadata"]["timestamp"] = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return _written(bom)


def with_found(bom_text: str, status: str, paths: Iterable[str]) -> str:
    """An SBOM with what else an image holds: Debian's packages, as its /var/lib/dpkg/status lists them, and Python
    packages that have their .dist-info among its `paths` and do not stand in uv.lock.
    """
    bom: dict[str, Any] = json.loads(bom_text)
    known = {component["name"] for component in bom["components"]} | {PROJECT}
    held = sorted(
        {(found[1].replace("_", "-").lower(), found[2]) for found in map(_INSTALLED.search, paths) if found}
    )
    bom["components"] += [
        _component(name, version, f"pkg:pypi/{name}@{version}") for name, version in held if name not in known
    ]
    bom["components"] += [
        _debian(dict(_FIELD.findall(entry))) for entry in status.split("\n\n") if entry.strip()
    ]
    return _written(bom)


def _debian(fields: dict[str, str]) -> dict[str, Any]:
    name, version = fields["Package"], fields["Version"]
    purl = f"pkg:deb/debian/{name}@{quote(version, safe='')}?arch={fields['Architecture']}"
    return _component(name, version, purl)


def _component(name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _written(bom: dict[str, Any]) -> str:
    """As text, under an id that follows from what it says."""
    image = bom["metadata"]["component"]
    content = json.dumps(bom["components"], sort_keys=True)
    told = f"{image['name'].rpartition('/')[2]} {image['version']} {content}"
    bom["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, told)}"
    return json.dumps(bom, indent=2) + "\n"


def _installed(component: dict[str, Any]) -> bool:
    """Whether a package goes into an image: its marker holds there."""
    properties = {found["name"]: found["value"] for found in component.get("properties", ())}
    marker = properties.get("uv:package:marker")
    return marker is None or Marker(marker).evaluate(PLATFORM)
