"""`nbship app`: the small web front that takes a JSON file of records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nbship.cli.common import console
from nbship.errors import NbshipError, UsageError
from nbship.project import pipeline_names, project_root

if TYPE_CHECKING:
    import socket

    from flask import Flask


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("app")(serve_front)


def serve_front(
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="The model; the pipeline's name if there is one.")
    ] = "",
    server: Annotated[
        str,
        typer.Option("--server", metavar="URL", help="Address of the model server, here or in a cluster."),
    ] = "http://127.0.0.1:8080",
    host_header: Annotated[
        str, typer.Option("--host-header", help="Name by which the cluster's gateway knows the model.")
    ] = "",
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on.")] = 5000,
) -> None:
    """Serve a form that takes a JSON file of records and tells what the model says of each.

    Example: nbship app --model churn --server http://127.0.0.1:8080
    """
    from nbship.serving.app import Service, create_app

    if not server.startswith(("http://", "https://")):
        raise UsageError(f"--server {server}: not an http or https address", "such as http://127.0.0.1:8080")
    service = Service(model or _only_pipeline(), server, host_header)
    front = create_app(service)

    with _listen(host, port) as listening:
        address = listening.getsockname()
        console.print(f"{service.model} at http://{host}:{address[1]} (Ctrl-C ends it)")
        _serve(front, host, address[1], listening.fileno())


def _listen(host: str, port: int) -> socket.socket:
    import socket

    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise NbshipError(
            f"cannot listen on {host}:{port}: {error.strerror}", "choose another: --port"
        ) from None


def _serve(front: Flask, host: str, port: int, listening: int) -> None:
    import logging

    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    make_server(host, port, front, threaded=True, fd=listening).serve_forever()


def _only_pipeline() -> str:
    names = pipeline_names(project_root())
    if len(names) != 1:
        raise UsageError("which model?", f"--model {' or '.join(names) or 'NAME'}")
    return names[0]
