"""An API server with RBAC on loopback: etcd and kube-apiserver, as `make test-cluster` built it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import urllib3
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.cluster.api import Api, write_kube_config

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "kube-apiserver"
_ADMIN = "admin-hunter2-hunter2"
_START = 60.0
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}],
}


class MissingError(Exception):
    """What a real API server needs is not on this machine."""


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
            kubeconfig=folder / "kubeconfig",
            address=f"https://127.0.0.1:{port}",
            authority=authority,
            authorization=f"Bearer {_ADMIN}",
            audit=folder / "audit",
            stop=stop,
            start=start,
        )
        write_kube_config(api.kubeconfig, api, _ADMIN)
        yield api
    finally:
        # The server first: it would wait for its etcd.
        for name in ("server", "etcd"):
            if name in processes:
                _end(processes[name])


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
