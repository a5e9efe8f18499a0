"""`nbship labels`, `records` and `collect`: what a served model was asked, and what came true."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from nbship.cli.common import PipelineArgument, console
from nbship.project import project_root

StoreOption = Annotated[
    str, typer.Option("--store", metavar="PLACE", help="Where the records are; else monitor.store.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    labels = typer.Typer(no_args_is_help=True, help="What came true of what was predicted.")
    labels.command("add")(add)
    app.add_typer(labels, name="labels")
    records = typer.Typer(no_args_is_help=True, help="What a served model was asked and answered.")
    records.command("prune")(prune)
    app.add_typer(records, name="records")
    app.command()(collect)


def add(
    name: PipelineArgument,
    file: Annotated[Path, typer.Argument(help="CSV or Parquet: id or key, value, arrived.")],
    store: StoreOption = "",
    arrived: Annotated[
        datetime | None,
        typer.Option("--arrived", metavar="TIME", help="When labels arrived that do not say it; in UTC."),
    ] = None,
) -> None:
    """Join labels that came later with the records of a model.

    The same file again changes nothing. A later label of a record corrects the one before.

    Example: nbship labels add auto-mpg measured.csv
    """
    from nbship.workflow.records import add_labels

    when = arrived.replace(tzinfo=UTC) if arrived is not None else None
    added = add_labels(project_root(), name, file, store, when)
    console.print(f"new       {added.new}")
    for word, count in (("corrected", added.corrected), ("known", added.known), ("empty", added.empty)):
        if count:
            console.print(f"{word:<9} {count}")
    if added.unknown:
        examples = ", ".join(added.examples)
        console.print(f"[yellow]unknown   {added.unknown}[/]: no record has {escape(examples)}")


def prune(
    name: PipelineArgument,
    store: StoreOption = "",
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, metavar="DAYS", help="Days to keep; else monitor.keep.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, and change nothing.")] = False,
) -> None:
    """Remove records that are too old, and make one file of a day's many.

    Example: nbship records prune auto-mpg --keep 30
    """
    from nbship.workflow.records import prune as workflow

    pruned = workflow(project_root(), name, store, keep, dry_run)
    would = "would be " if dry_run else ""
    if pruned.files:
        first, last = pruned.days[0], pruned.days[-1]
        console.print(f"{would}removed   {pruned.files} files, of {first} to {last}")
    if pruned.joined:
        console.print(f"{would}joined    {pruned.joined} files of past days")
    if not pruned.files and not pruned.joined:
        console.print("nothing to do")


def collect(
    store: Annotated[str, typer.Option("--store", metavar="PLACE", help="Where records are kept.")],
    models: Annotated[
        str, typer.Option("--models", metavar="PLACE", help="The model store, for what models take.")
    ],
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 is all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on.")] = 8080,
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds", min=0.1, help="Between two files; as much is lost at most when it is killed."
        ),
    ] = 10.0,
) -> None:
    """Keep what KServe's logger sends: CloudEvents in, Parquet in the store out.

    Example: nbship collect --store s3://records/served --models s3://models/published
    """
    from nbship.workflow.collect import collect as workflow

    workflow(store, models, host, port, seconds, lambda at: console.print(f"collecting at {at}"))
