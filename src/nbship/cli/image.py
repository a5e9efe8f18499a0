"""`nbship image`: the name and tag of the container image that steps and model servers run in."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from nbship.cli.common import JsonOption, complete_pipeline, print_json
from nbship.project import project_root

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A pipeline; the tag alone if none is named.", autocompletion=complete_pipeline
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("image")(image)


def image(name: NameArgument = "", as_json: JsonOption = False) -> None:
    """Print the image of a pipeline's steps: name:tag. The tag is the hash of what the image is made of.

    Example: docker build --tag "$(nbship image auto-mpg)" .
    """
    from nbship.config import load_pipeline
    from nbship.workflow.image import image_reference, image_tag

    root = project_root()
    if not name:
        text = image_tag(root)
    else:
        text = image_reference(root, load_pipeline(root, name, environment=os.environ).image)
    if as_json:
        print_json({"image" if name else "tag": text})
    else:
        sys.stdout.write(f"{text}\n")
