"""What an image holds, in CycloneDX, from uv's account of uv.lock.

The account is of all platforms and says when it was made and by a random number; here it is of the images' platform,
and the same for the same lock file.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from packaging.markers import Marker

IMAGES = {"slim": ["operator", "page", "tracing"], "trainer": ["trainer", "examples", "tracing"]}
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


def of_image(account: str, image: str, version: str, epoch: int) -> str:
    """The SBOM of `image` as JSON, dated `epoch` (Unix seconds)."""
    bom: dict[str, Any] = json.loads(account)
    bom["components"] = [component for component in bom["components"] if _installed(component)]
    known = {component["bom-ref"] for component in bom["components"]}
    root = bom["metadata"]["component"]
    root.update({"type": "container", "name": f"asgd-operator/{image}", "version": version})
    bom["dependencies"] = [
        {**found, "dependsOn": [ref for ref in found.get("dependsOn", ()) if ref in known]}
        for found in bom["dependencies"]
        if found["ref"] in known | {root["bom-ref"]}
    ]
    bom["metadata"]["timestamp"] = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    content = json.dumps(bom["components"], sort_keys=True)
    bom["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{image} {version} {content}')}"
    return json.dumps(bom, indent=2) + "\n"


def _installed(component: dict[str, Any]) -> bool:
    """Whether a package goes into an image: its marker holds there."""
    properties = {found["name"]: found["value"] for found in component.get("properties", ())}
    marker = properties.get("uv:package:marker")
    return marker is None or Marker(marker).evaluate(PLATFORM)
