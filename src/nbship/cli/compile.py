"""`nbship compile`, `schema` and `dashboard`: the generated files, written or checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from nbship.cli.common import (
    ConfigOverrideOption,
    JsonOption,
    SetOption,
    complete_pipeline,
    console,
    print_json,
)
from nbship.errors import NbshipError, UsageError
from nbship.project import pipeline_names, project_root

if TYPE_CHECKING:
    from nbship.workflow.compile import Generated

_CheckOption = Annotated[
    bool, typer.Option("--check", help="Write nothing; fail if what is there is not current.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("compile")(compile_pipelines)
    app.command("schema", rich_help_panel="Begin")(schema)
    app.command("dashboard", rich_help_panel="Watch what serves")(dashboard)


def compile_pipelines(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The pipeline; or --all.", autocompletion=complete_pipeline)
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="Compile every pipeline.")] = False,
    check: _CheckOption = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write here, not to pipelines/compiled/."),
    ] = None,
    kubernetes: Annotated[
        bool,
        typer.Option("--kubernetes", help="Write Kubernetes resources to kubernetes/kubeflow/, for GitOps."),
    ] = False,
    settings: SetOption = [],  # noqa: B006 (typer reads the default and never changes it)
    overrides: ConfigOverrideOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Compile a pipeline for Kubeflow.

    Writes pipelines/compiled/NAME.yaml, KFP's v2 intermediate representation, with the notebooks in it.
    `nbship submit` runs it; Kubeflow's page and any KFP client take it too. With --kubernetes, writes the
    resources Pipeline and PipelineVersion instead, for servers that keep pipelines in Kubernetes.

    Example: nbship compile auto-mpg --check
    """
    from nbship.workflow.compile import compile_pipeline, generate_resources

    if bool(name) == every or (every and output):
        raise UsageError("which pipeline?", "nbship compile NAME [--output FILE], or nbship compile --all")
    if kubernetes and output:
        raise UsageError(
            "--kubernetes and --output exclude each other", "resources are written to kubernetes/kubeflow/"
        )
    root = project_root()
    names = pipeline_names(root) if every else [name]
    if not names:
        raise UsageError("there is no pipeline yet", "write pipelines/NAME.yaml")
    generated = (
        [found for n in names for found in generate_resources(root, n, settings, overrides)]
        if kubernetes
        else [compile_pipeline(root, n, output, settings, overrides) for n in names]
    )
    _finish(generated, root, check, as_json)


def schema(check: _CheckOption = False, as_json: JsonOption = False) -> None:
    """Write pipelines/schema.json and project-schema.json, from which editors complete the project's files.

    A pipeline file refers to it in its first line: # yaml-language-server: $schema=schema.json

    Example: nbship schema --check
    """
    from nbship.workflow.compile import generate_schemas

    root = project_root()
    _finish(generate_schemas(root), root, check, as_json)


def dashboard(check: _CheckOption = False, as_json: JsonOption = False) -> None:
    """Write Grafana's dashboard of the published models, and the alert rules for Prometheus' operator.

    Both are in kubernetes/monitoring; the rules are made of rules.yaml there.

    Example: nbship dashboard
    """
    from nbship.workflow.dashboard import generate

    root = project_root()
    _finish(generate(root), root, check, as_json)


def _finish(generated: Sequence[Generated], root: Path, check: bool, as_json: bool) -> None:
    """Writes or checks what was generated, and tells."""
    for file in generated:
        if not check:
            file.write()
        if as_json:
            print_json(
                {"path": str(file.path), "written": bool(file.stale) and not check, "stale": file.stale}
            )
        elif not (check and file.stale):
            why = f" ({escape('; '.join(file.stale))})" if file.stale else ""
            console.print(f"{'wrote' if file.stale else 'current':<8} {escape(_shown(file.path, root))}{why}")
    stale = [file for file in generated if file.stale]
    if check and stale:
        paths = ", ".join(_shown(file.path, root) for file in stale)
        commands = {file.command for file in stale}
        resources = all(command.endswith(" --kubernetes") for command in commands)
        every = "nbship compile --all --kubernetes" if resources else "nbship compile --all"
        raise NbshipError(
            f"not current: {paths}",
            f"renew and commit: {commands.pop() if len(commands) == 1 else every}",
            "\n".join(f"{_shown(file.path, root)}: {reason}" for file in stale for reason in file.stale),
        )


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
