"""A small API server over real HTTP: it keeps what is applied, and does as it is told where a test wants it to fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from kubernetes.aio import client

from tests.unit.plan.builders import booked

Body = dict[str, Any]


@dataclass
class Api:
    """`objects` by path. `refuse`: (part of a path, code): what is refused. `hang`: (method, part of a path), never
    answered; DRYRUN is a method of its own. `mind`: what is said against a status, by code and message and fields.
    """

    objects: dict[str, Body] = field(default_factory=dict)
    refuse: list[tuple[str, int]] = field(default_factory=list)
    hang: list[tuple[str, str]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    mind: Callable[[Body], tuple[int, str, list[str]] | None] = lambda status: None
    version: int = 100

    def status(self, name: str) -> Body:
        """Of an AsgdJob as it was last written."""
        return dict(self.objects.get(f"/apis/asgd.dev/v1alpha1/namespaces/n/asgdjobs/{name}/status", {}))

    def condition(self, name: str, kind: str) -> Body:
        found = self.status(name).get("status", {}).get("conditions", [])
        return next((dict(item) for item in found if item["type"] == kind), {})

    def events(self, name: str) -> list[str]:
        """Reasons of the Events on a job."""
        kept = (body for path, body in self.objects.items() if "/events/" in path)
        return sorted(body["reason"] for body in kept if body["involvedObject"]["name"] == name)

    def writes_to(self, part: str) -> list[str]:
        return [path for method, path in self.requests if method not in ("GET", "DRYRUN") and part in path]

    async def answer(self, request: web.Request) -> web.Response:
        path, text = request.path, await request.text()
        dry = "dryRun" in request.query
        method = "DRYRUN" if dry else request.method
        self.requests.append((method, path))
        if any(method == verb and part in path for verb, part in self.hang):
            await asyncio.get_running_loop().create_future()
        for part, code in self.refuse:
            if part in path:
                return web.json_response({"message": f"{part} is refused"}, status=code)
        if request.method == "GET":
            found = self.objects.get(path)
            return web.json_response(found or {"message": "none"}, status=200 if found else 404)
        body = json.loads(text)
        if request.method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                return web.json_response({"message": "it exists"}, status=409)
        if dry:
            # What is not there gets no version by a dry run.
            return web.json_response(_with(body, resourceVersion="1" if path in self.objects else ""))
        if path.endswith("/status") and (said := self.mind(body["status"])):
            code, message, fields = said
            details = {"causes": [{"field": field, "message": message} for field in fields]}
            return web.json_response({"message": message, "details": details}, status=code)
        self.version += 1
        self.objects[path] = _with(body, resourceVersion=str(self.version), managedFields=[self.book(body)])
        return web.json_response(self.objects[path])

    def book(self, body: Body) -> Body:
        """The operator's entry in the API server's book of fields after it has applied `body`."""
        return {"manager": "asgd-operator", "operation": "Apply", "fieldsV1": booked(body)}


def _with(body: Body, **metadata: Any) -> Body:
    return {**body, "metadata": {**body["metadata"], **metadata}}


@asynccontextmanager
async def serving(api: Api) -> AsyncIterator[client.ApiClient]:
    """A client of `api`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with client.ApiClient(client.Configuration(host=host)) as connected:
        try:
            yield connected
        finally:
            await runner.cleanup()
