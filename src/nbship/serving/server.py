"""Starts a server of one model: here, and as a module in the container of a ServingRuntime.

usage: python -m nbship.serving.server --model_name NAME --model_dir /mnt/models
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from nbship import threads
from nbship.errors import ExitCode, NbshipError
from nbship.serving.settings import BYTES_AT_MOST, PATIENCE, RECORDS_AT_MOST, OpenLog, ServerSettings

_EVERYWHERE = "0.0.0.0"  # noqa: S104 - where a container's server listens


def serve(settings: ServerSettings, host: str, port: int, workers: int, ready: Callable[[], None]) -> None:
    """Serves a model until a signal ends it.

    Args:
        settings: What is served and how.
        host: The address to listen on.
        port: The port to listen on.
        workers: Worker processes.
        ready: Called just before the server starts to listen: when the model is loaded, or, with several
            workers, when its description has been read.

    Raises:
        NbshipError: The model cannot be loaded, the port is taken, the workers cannot start, or the serving
            libraries are not there.
    """
    _require_libraries()
    from nbship.serving import listening

    listener = listening.bind(host, port)
    if settings.grpc_address:
        grpc_host, _, grpc_port = settings.grpc_address.rpartition(":")
        listening.bind(grpc_host.strip("[]"), int(grpc_port), "--grpc-port").close()
    # Requests are answered side by side, each by one thread: libraries that start as many as the machine has
    # CPUs for each make all of them wait. They look at these variables when they are imported.
    os.environ.update(threads.limits(1, 1, os.environ))
    with listener, _shared_metrics(workers):
        if workers > 1:
            from nbship.package import read_package
            from nbship.serving.workers import serve_by_workers

            read_package(settings.folder)
            serve_by_workers(settings, listener, workers, ready)
            return
        from nbship.serving.model import PackagedModel

        listening.configure_log()
        model = PackagedModel(settings)
        model.load()
        ready()
        listening.serve(model, listener)


def grpc_address(host: str, port: int) -> str:
    """Returns where gRPC is served; empty where there is no port for it."""
    return f"{f'[{host}]' if ':' in host else host}:{port}" if port else ""


def free_port(host: str) -> int:
    """Returns a port that nobody listens on."""
    with socket.socket() as found:
        found.bind((host, 0))
        port: int = found.getsockname()[1]
        return port


def _require_libraries() -> None:
    needed = ("httptools", "msgspec", "onnxruntime", "orjson", "starlette", "uvicorn", "grpc")
    absent = [name for name in needed if find_spec(name) is None]
    if absent:
        raise NbshipError(f"serving needs {', '.join(absent)}", "pip install 'nbship[serve]'")


@contextlib.contextmanager
def _shared_metrics(workers: int) -> Iterator[None]:
    """Has several processes put their metrics in one folder, so that each can show the sum of all."""
    if workers == 1:
        yield
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="nbship-metrics-") as folder:
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)
        yield


def main(arguments: Sequence[str], log_of: Callable[[str], OpenLog | None] = lambda _: None) -> None:
    """Serves as a container of KServe's ServingRuntime does; takes the arguments of KServe's own servers too.

    Args:
        arguments: Of the command line.
        log_of: Returns what opens the log of a model.

    Raises:
        NbshipError: See `serve`.
    """
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m nbship.serving.server", description=(main.__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--model_name", required=True, help="the model's name in addresses")
    parser.add_argument("--model_dir", type=Path, default=Path("/mnt/models"), help="the model package")
    parser.add_argument("--model_version", default="", help="the version that clients are told")
    parser.add_argument("--host", default=_EVERYWHERE, help="the address to listen on")
    parser.add_argument("--http_port", type=int, default=8080, help="the port to listen on")
    parser.add_argument(
        "--grpc_port", "--grpc-port", type=int, default=0, help="for gRPC, 8081 as a rule; 0 leaves it"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that answer")
    parser.add_argument("--max_records", "--max-records", type=int, default=RECORDS_AT_MOST)
    parser.add_argument("--max_bytes", "--max-bytes", type=int, default=BYTES_AT_MOST, help="of one body")
    parser.add_argument("--patience", type=int, default=PATIENCE, help="seconds for a request to arrive")
    parser.add_argument("--corrections", action="store_true", help="let clients tell what came true")
    parser.add_argument("--allowed_origins", default="", help="hosts of pages that may call, with commas")
    given, _ = parser.parse_known_args(arguments)

    settings = ServerSettings(
        name=given.model_name,
        folder=given.model_dir,
        version=given.model_version,
        records_at_most=given.max_records,
        bytes_at_most=given.max_bytes,
        patience=given.patience,
        grpc_address=grpc_address(given.host, given.grpc_port),
        origins=tuple(filter(None, given.allowed_origins.split(","))),
        log=log_of(given.model_name),
        corrections=given.corrections,
    )
    serve(settings, given.host, given.http_port, given.workers, ready=lambda: None)


def run(log_of: Callable[[str], OpenLog | None] = lambda _: None) -> None:
    """Serves as this process's arguments say; ends it with an error's code where it cannot."""
    try:
        main(sys.argv[1:], log_of)
    except NbshipError as failure:
        sys.stderr.write(f"error: {failure.message}\nhint:  {failure.hint}\n")
        sys.exit(ExitCode.FAILED)


if __name__ == "__main__":
    run()
