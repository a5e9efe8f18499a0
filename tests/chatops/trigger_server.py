"""Forges on loopback that start jobs, for tests.

GitLab's answers are those of its `lib/api/ci/triggers.rb`; GitHub's operation is the published
`actions/create-workflow-dispatch`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.forge_server import ForgeHandler, ForgeServer
from tests.gitlab_server import TRIGGER_TOKEN
from tests.kubeflow_server import RefusedError
from tests.servers import http_server

GITHUB_TOKEN = "ghs_battery-staple"  # noqa: S105
WORKFLOW = "nbship-chatops.yml"


@dataclass(kw_only=True)
class TriggerServer(ForgeServer):
    """Attributes: started, the variables of the jobs in their order."""

    started: list[dict[str, str]] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [each["NBSHIP_COMMENT_ID"] for each in self.started]


class _Handler(ForgeHandler):
    forge: TriggerServer

    def answered(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        told = json.loads(body)
        if query or self.command != "POST":
            raise RefusedError(404, "404 Not Found")
        if path == "/api/v4/projects/group/cars/trigger/pipeline":
            return self._pipeline(told)
        match = re.fullmatch(r"/repos/octo/cars/actions/workflows/([^/]+)/dispatches", path)
        if match and self.headers.get("Authorization") == f"Bearer {GITHUB_TOKEN}":
            return self._dispatch(match[1], told)
        raise RefusedError(404, "404 Not Found")

    def _pipeline(self, told: dict[str, Any]) -> tuple[int, Any]:
        if not told.get("ref"):
            raise RefusedError(400, "ref is missing, ref is empty")
        variables = told.get("variables", {})
        if not all(isinstance(each, str) for pair in variables.items() for each in pair):
            raise RefusedError(400, "variables needs to be a map of key-valued strings")
        if told.get("token") != TRIGGER_TOKEN:
            raise RefusedError(404, "404 Not Found")
        if told["ref"] != "main":
            raise RefusedError(400, "Reference not found")
        self.forge.started.append(variables)
        number = len(self.forge.started)
        return 201, {"id": number, "web_url": f"{self.forge.address}/group/cars/-/pipelines/{number}"}

    def _dispatch(self, workflow: str, told: dict[str, Any]) -> tuple[int, Any]:
        if workflow != WORKFLOW or set(told) - {"ref", "inputs"} or len(told.get("inputs", {})) > 25:
            raise RefusedError(422, "Unexpected inputs provided")
        self.forge.started.append(told["inputs"])
        return 204, None


@contextmanager
def serve(server: TriggerServer) -> Iterator[TriggerServer]:
    """Runs one on loopback."""
    handler = type("Handler", (_Handler,), {"forge": server})
    with http_server(handler) as server.address:
        yield server
