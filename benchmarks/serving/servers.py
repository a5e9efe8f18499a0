"""The servers that are compared: each a process that serves one model package while it is needed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import requests

from benchmarks.serving.results import NBSHIP, STOCK
from benchmarks.workspace import CommandError
from nbship.package import MODEL, Package
from nbship.serving.server import free_port

MLSERVER = {"mlserver": "1.7.1", "mlserver-sklearn": "1.7.1"}
_ENVIRONMENT = Path(__file__).parents[1] / ".venv"
# The model is unpickled there too.
_ALIKE = ("scikit-learn", "numpy", "pandas", "joblib")


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        name: In the table.
        address: Where it predicts.
        protocol: Of the requests it gets: v1 or v2.
        process: Its number.
        ready: Seconds from the start of the process until it said that it is ready.
    """

    name: str
    address: str
    protocol: str
    process: int
    ready: float


@contextlib.contextmanager
def running(folder: Path, package: Package, mlserver: Path | None) -> Iterator[list[Server]]:
    """Starts all servers, each on a port of its own, and ends them.

    Args:
        folder: The model package.
        package: Its description.
        mlserver: MLServer's program; None to go without it.
    """
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server) for server in _servers(folder, package, mlserver)]


def alone(folder: Path, package: Package, mlserver: Path | None) -> list[AbstractContextManager[Server]]:
    """Returns the servers of one process each, to be started one by one; the arguments are the same."""
    return [server for at, server in enumerate(_servers(folder, package, mlserver)) if at != 1]


def _servers(
    folder: Path, package: Package, mlserver: Path | None
) -> Iterator[AbstractContextManager[Server]]:
    name = package.name
    ours = [sys.executable, "-m", "nbship.serving.server", "--model_name", name, "--model_dir", str(folder)]
    stock = [sys.executable, "-m", "benchmarks.serving.stock", "--model_name", name]
    stock += ["--model_file", str(folder / MODEL)]
    yield _running(NBSHIP, ours, name)
    yield _running(f"{NBSHIP}, 2 workers", [*ours, "--workers", "2"], name)
    yield _running(STOCK, stock, name)
    if mlserver:
        yield _running_mlserver(mlserver, name, folder)


def install_mlserver() -> Path:
    """Makes MLServer's own environment, for it does not fit beside KServe's, or finds it.

    Returns:
        Its program.

    Raises:
        CommandError: It cannot be installed.
    """
    program = _ENVIRONMENT / "bin" / "mlserver"
    if program.exists():
        return program
    wanted = MLSERVER | {name: version(name) for name in _ALIKE}
    requirements = [f"{name}=={pinned}" for name, pinned in wanted.items()]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(_ENVIRONMENT)],
        [str(_ENVIRONMENT / "bin/python"), "-m", "pip", "install", "--quiet", *requirements],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip() or "it says nothing").splitlines()[-1]
            raise CommandError(f"pip could not install it: {said}")
    return program


def _write_settings(folder: Path, name: str, package: Path) -> None:
    parameters = {"uri": str(package / MODEL), "content_type": "pd"}
    model = {"name": name, "implementation": "mlserver_sklearn.SKLearnModel", "parameters": parameters}
    (folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    server = {"parallel_workers": 0, "debug": False}
    (folder / "settings.json").write_text(json.dumps(server), encoding="utf-8")


@contextlib.contextmanager
def _running(name: str, command: Sequence[str], model: str) -> Iterator[Server]:
    port = free_port("127.0.0.1")
    with server_process([*command, "--http_port", str(port)], {}, model, port) as (base, process, ready):
        yield Server(name, f"{base}/v1/models/{model}:predict", "v1", process, ready)


@contextlib.contextmanager
def _running_mlserver(program: Path, model: str, folder: Path) -> Iterator[Server]:
    ports = {f"MLSERVER_{kind}_PORT": free_port("127.0.0.1") for kind in ("HTTP", "GRPC", "METRICS")}
    variables = {name: str(port) for name, port in ports.items()}
    with tempfile.TemporaryDirectory() as scratch:
        _write_settings(Path(scratch), model, folder)
        command, port = [str(program), "start", scratch], ports["MLSERVER_HTTP_PORT"]
        with server_process(command, variables, model, port) as (base, process, ready):
            address = f"{base}/v2/models/{model}/infer"
            yield Server("MLServer's sklearn runtime", address, "v2", process, ready)


@contextlib.contextmanager
def server_process(
    command: Sequence[str], variables: dict[str, str], model: str, port: int
) -> Iterator[tuple[str, int, float]]:
    """Starts a server and ends it; yields its address, its number, and the seconds until it was ready."""
    base = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=os.environ | variables, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(f"{base}/v2/models/{model}/ready", process)
            yield base, process.pid, time.perf_counter() - started
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(6000):
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(address, timeout=5).ok:
                return
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise CommandError(f"{address} does not answer")
