"""`nbship package`: a published model in the form of another tool."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from nbship.cli.common import JsonOption, PipelineArgument, console, error_console, print_json
from nbship.errors import UsageError
from nbship.project import project_root


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("package")(package)


def package(
    name: PipelineArgument,
    bento: Annotated[bool, typer.Option("--bento", help="A folder that BentoML serves and builds.")] = False,
    oci: Annotated[
        bool, typer.Option("--oci", help="A folder to build an image of, for KServe's oci://.")
    ] = False,
    version: Annotated[
        str, typer.Option("--version", metavar="VERSION", help="A registered version; else the champion.")
    ] = "",
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="FOLDER", help="Where to; else build/NAME-VERSION-FORM.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a published model in the form of another tool; its checks, answers and page stay the same.

    Example: nbship package auto-mpg --bento
    """
    from nbship.config import load_pipeline
    from nbship.workflow.export import export
    from nbship.workflow.models import list_models

    forms = [form for form, wanted in (("bento", bento), ("oci", oci)) if wanted]
    if len(forms) != 1:
        raise UsageError("nbship package takes one form", "one of --bento, --oci")
    root = project_root()
    pipeline = load_pipeline(root, name, environment=os.environ)
    wanted = version or list_models(root, name)[0].champion
    folder = to or Path("build") / f"{name}-{wanted}-{forms[0]}"
    written = export(root, pipeline, forms[0], folder, version, partial(error_console.print, markup=False))
    if as_json:
        print_json(asdict(written))
        return
    console.print(f"{written.name} {written.version} is in {written.folder}", markup=False)
    console.print(f"next: cd {written.folder} && {written.next_command}", markup=False)
