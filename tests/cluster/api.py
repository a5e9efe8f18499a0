"""How a test asks a cluster: as its administrator, or by the token of an account."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
import yaml

APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"

Record = dict[str, Any]


@dataclass
class Api:
    """A cluster, asked as an administrator or by a token.

    Attributes:
        kubeconfig: Leads to it, as its administrator.
        address: Where it is.
        authority: File with the certificate by which it is known.
        authorization: The administrator's header of that name; empty if he shows a certificate.
        certificate: Files with his certificate and its key.
        audit: File in which it notes who asked for what.
        stop: Ends the API server; its data stay.
        start: Starts it again at the same address.
        stage: The namespace of the stage that the tests deploy to.
    """

    kubeconfig: Path
    address: str
    authority: str | None
    authorization: str
    certificate: tuple[str, str] | None = None
    audit: Path = Path("/dev/null")
    stop: Callable[[], None] = lambda: None
    start: Callable[[], None] = lambda: None
    stage: str = "staging"
    _administrator: urllib3.PoolManager = field(init=False)
    _anybody: urllib3.PoolManager = field(init=False)
    _forgotten: int = 0

    def __post_init__(self) -> None:
        common = {"ca_certs": self.authority, "retries": False, "timeout": 30, "maxsize": 4}
        certificate, key = self.certificate or (None, None)
        self._administrator = urllib3.PoolManager(**common, cert_file=certificate, key_file=key)
        self._anybody = urllib3.PoolManager(**common)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        token: str = "",
        kind: str = "application/json",
    ) -> tuple[int, Record]:
        """Makes a request, as the administrator without a token; returns status and answer."""
        authorization = f"Bearer {token}" if token else self.authorization
        headers = {"Authorization": authorization} if authorization else {}
        response = (self._anybody if token else self._administrator).request(
            method,
            self.address + path,
            body=None if body is None else json.dumps(body),
            headers={**headers, "Content-Type": kind},
        )
        try:
            answer = json.loads(response.data)
        except ValueError:
            answer = {"text": response.data.decode(errors="replace")}
        return response.status, answer

    def must(self, method: str, path: str, body: Any = None, **arguments: Any) -> Record:
        """Makes a request that a test needs to go well."""
        status, answer = self.ask(method, path, body, **arguments)
        assert status < 300, f"{method} {path}: {status} {answer.get('message', answer)}"
        return answer

    def make(self, path: str, name: str, content: Record) -> Record:
        """Makes an object, or makes it what it is to be; returns it."""
        body = {"metadata": {}, **content}
        body["metadata"] = {**body["metadata"], "name": name}
        query = "fieldManager=tests&force=true&fieldValidation=Strict"
        return self.must("PATCH", f"{path}/{name}?{query}", body, kind=APPLY)

    def namespace(self, name: str) -> None:
        """Makes a namespace with the service account that pods have by default."""
        self.make("/api/v1/namespaces", name, {"apiVersion": "v1", "kind": "Namespace"})
        self.account(name, "default")

    def account(self, namespace: str, name: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self.make(path, name, {"apiVersion": "v1", "kind": "ServiceAccount"})

    def token(self, namespace: str, account: str) -> str:
        """Returns a token of a service account, as `kubectl create token` does."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return str(self.must("POST", path, request)["status"]["token"])

    def forget(self) -> None:
        """Has `asked` begin here."""
        self._forgotten = len(self.audit.read_text().splitlines())

    def asked(self, account: str) -> set[tuple[str, str, str, int]]:
        """Returns what an account, `NAMESPACE:NAME`, asked for: verb, resource, namespace, and the status."""
        notes = [json.loads(line) for line in self.audit.read_text().splitlines()[self._forgotten :]]
        found = set()
        for note in notes:
            if note["user"]["username"] == f"system:serviceaccount:{account}" and "objectRef" in note:
                thing = note["objectRef"]
                parts = (thing.get("apiGroup"), thing["resource"], thing.get("subresource"))
                resource = "/".join(part for part in parts if part)
                namespace = thing.get("namespace", "")
                found.add((note["verb"], resource, namespace, note["responseStatus"]["code"]))
        return found

    def kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs kubectl as an administrator, with a memory of its own of what the cluster knows."""
        memory = str(self.kubeconfig.parent / "kubectl")
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), "--cache-dir", memory]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def write_kube_config(path: Path, api: Api, token: str, namespace: str = "default") -> Path:
    """Writes a kube config for a token."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [
            {"name": "here", "cluster": {"server": api.address, "certificate-authority": api.authority}}
        ],
        "users": [{"name": "tester", "user": {"token": token}}],
        "contexts": [
            {"name": "here", "context": {"cluster": "here", "user": "tester", "namespace": namespace}}
        ],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def users_cluster(kubeconfig: Path) -> Api:
    """Returns the cluster that a kube config leads to, asked as its user."""
    from kubernetes import client, config

    settings = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=settings)
    authorization = settings.get_api_key_with_prefix("authorization") or ""
    certificate = (settings.cert_file, settings.key_file) if settings.cert_file else None
    return Api(kubeconfig, settings.host, settings.ssl_ca_cert, authorization, certificate)
