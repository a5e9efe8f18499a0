"""An API server with RBAC on loopback, and how a test asks it or a cluster of the user's."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "kube-apiserver"
USERS_CLUSTER = "NBSHIP_TEST_KUBECONFIG"
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
_ADMIN = "admin-hunter2-hunter2"
_START = 60.0
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}],
}

Record = dict[str, Any]


class MissingError(Exception):
    """What a real API server needs is not on this machine."""


@dataclass
class Api:
    """A cluster, asked as an administrator or by a token.

    Attributes:
        kubeconfig: Leads to it, as its administrator.
        address: Where it is.
        authority: File with the certificate that it shows.
        audit: File in which it notes who asked for what.
        stop: Ends the API server; its data stay.
        start: Starts it again at the same address.
        pool: Connections to it.
    """

    kubeconfig: Path
    address: str
    authority: str | None
    audit: Path = Path("/dev/null")
    stop: Callable[[], None] = lambda: None
    start: Callable[[], None] = lambda: None
    pool: urllib3.PoolManager = field(init=False)
    _forgotten: int = 0

    def __post_init__(self) -> None:
        self.pool = urllib3.PoolManager(ca_certs=self.authority, retries=False, timeout=30, maxsize=4)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        token: str = _ADMIN,
        kind: str = "application/json",
        **headers: str,
    ) -> tuple[int, Record]:
        """Makes a request; returns status and answer, whichever they are."""
        response = self.pool.request(
            method,
            self.address + path,
            body=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {token}", "Content-Type": kind, **headers},
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

    def make(self, path: str, name: str, content: Record) -> None:
        """Makes an object, or makes it what it is to be."""
        body = {"metadata": {}, **content}
        body["metadata"] = {**body["metadata"], "name": name}
        self.must(
            "PATCH", f"{path}/{name}?fieldManager=tests&force=true&fieldValidation=Strict", body, kind=APPLY
        )

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


def find_server() -> Path:
    """Returns the API server that `make test-cluster` built.

    Raises:
        MissingError: It was not built, or etcd is not installed.
    """
    if shutil.which("etcd") is None:
        raise MissingError("no etcd on this machine: apt-get install etcd-server")
    found = subprocess.run([SCRIPT, "--find"], capture_output=True, text=True, check=False)
    if found.returncode:
        raise MissingError(found.stderr.strip())
    return Path(found.stdout.strip())


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Api]:
    """Runs etcd and an API server on loopback until the test is done with them."""
    program = find_server()
    store, peers, port = _free_ports(3)
    etcd = _etcd_command(folder, store, peers)
    server = _server_command(program, folder, store, port)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    authority = str(folder / "certificates" / "apiserver.crt")

    def start() -> None:
        processes["server"] = _start(server, folder / "server.log")
        _wait_until_ready(f"https://127.0.0.1:{port}", authority, processes["server"], folder)

    def stop() -> None:
        _end(processes.pop("server"))

    try:
        processes["etcd"] = _start(etcd, folder / "etcd.log")
        start()
        api = Api(
            folder / "kubeconfig", f"https://127.0.0.1:{port}", authority, folder / "audit", stop, start
        )
        write_kube_config(api.kubeconfig, api, _ADMIN)
        yield api
    finally:
        # The server first: it would wait for its etcd.
        for name in ("server", "etcd"):
            if name in processes:
                _end(processes[name])


def users_cluster(path: str) -> Api:
    """Returns the cluster of a kube config, which is asked with the token of its user."""
    raise MissingError(f"not yet: {path}")


def _etcd_command(folder: Path, port: int, peers: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
    return [
        "etcd",
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def _server_command(program: Path, folder: Path, store: int, port: int) -> list[str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    (folder / "accounts.key").write_bytes(key)
    (folder / "policy.yaml").write_text(yaml.safe_dump(_AUDIT))
    (folder / "tokens.csv").write_text(f'{_ADMIN},admin,admin,"system:masters"\n')
    return [
        str(program),
        f"--etcd-servers=http://127.0.0.1:{store}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certificates'}",
        "--authorization-mode=RBAC",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'accounts.key'}",
        f"--service-account-signing-key-file={folder / 'accounts.key'}",
        f"--audit-policy-file={folder / 'policy.yaml'}",
        f"--audit-log-path={folder / 'audit'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        # There is one server, and nobody that asks for it by a Service.
        "--endpoint-reconciler-type=none",
        "--enable-priority-and-fairness=false",
    ]


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(address: str, authority: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
        if not Path(authority).exists():
            continue
        with (
            contextlib.suppress(urllib3.exceptions.HTTPError),
            urllib3.PoolManager(ca_certs=authority) as pool,
        ):
            headers = {"Authorization": f"Bearer {_ADMIN}"}
            if pool.request("GET", f"{address}/readyz", headers=headers, retries=False).status == 200:
                return
    raise RuntimeError((folder / "server.log").read_text()[-2000:])


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as sockets:
        free = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in free:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in free]
