"""`nbship serve`: a model behind KServe's protocols, on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from nbship.cli.common import PipelineArgument, console, error_console
from nbship.project import project_root

if TYPE_CHECKING:
    from nbship.workflow.serve import Serving

_LATEST = "latest"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(serve)


def serve(
    name: PipelineArgument,
    run: Annotated[
        str,
        typer.Option(
            "--run", metavar="ID", help="The run, or the beginning of its id, or latest; else the champion."
        ),
    ] = "",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port; 0 is any free one.")
    ] = 8080,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on; 0.0.0.0 is all.")
    ] = "127.0.0.1",
    grpc_port: Annotated[
        int,
        typer.Option("--grpc-port", min=0, max=65535, help="The port for gRPC, 8081 in KServe; 0 is none."),
    ] = 0,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Worker processes.")] = 1,
    max_records: Annotated[
        int, typer.Option("--max-records", min=1, help="Most records in one request.")
    ] = 100_000,
    max_bytes: Annotated[int, typer.Option("--max-bytes", min=1000, help="Most bytes in one request.")] = 16
    * 2**20,
    log: Annotated[
        str,
        typer.Option("--log", metavar="PLACE", help="Keep what is asked and answered: a folder, or s3://…"),
    ] = "",
    corrections: Annotated[
        bool, typer.Option("--corrections", help="Let the page tell what came true; needs --log.")
    ] = False,
) -> None:
    """Serve a model on this machine, as it is served in the cluster.

    Example: nbship serve auto-mpg --port 9000
    """
    from nbship.workflow.serve import Limits
    from nbship.workflow.serve import serve as workflow

    run_id = None if not run else "" if run == _LATEST else run
    limits = Limits(max_records, max_bytes)
    workflow(
        project_root(),
        name,
        run_id,
        host,
        port,
        workers,
        _print_ready,
        _report,
        limits,
        grpc_port,
        log,
        corrections,
    )


def _report(line: str) -> None:
    error_console.print(escape(line))


def _print_ready(serving: Serving) -> None:
    package = serving.package
    instances = json.dumps({"instances": [package.golden[0].record]}, ensure_ascii=True)
    console.print(f"model     {escape(package.name)} {serving.version or f'of run {package.origin.run}'}")
    if package.origin.synthetic:
        console.print("data      [bold yellow]synthetic[/]")
    console.print(f"address   {serving.address}")
    console.print("\nOpen the address in a browser, or ask from another terminal; Ctrl-C ends it.\n")
    if len(instances) > 2000:
        console.print(f"curl {serving.address}/v2/models/{package.name}")
        return
    body = instances.replace("'", r"\u0027")
    address = f"{serving.address}/v1/models/{package.name}:predict"
    console.print(f"curl {address} \\\n  -H 'content-type: application/json' \\\n  -d '{escape(body)}'")
