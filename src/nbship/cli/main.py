"""`nbship`: the one program. Registers the command groups and turns errors into lines and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

import typer
from typer.models import CommandInfo, TyperInfo

from nbship import __version__
from nbship.cli import (
    add,
    changes,
    chatops,
    config,
    data,
    deploy,
    image,
    init,
    lint,
    mlflow,
    monitor,
    new,
    package,
    publish,
    records,
    report,
    retrain,
    run,
    runs,
    schedule,
    serve,
    show,
    split,
    submit,
    sweep,
)
from nbship.cli import app as app_command
from nbship.cli import compile as compile_command
from nbship.cli import open as open_command
from nbship.cli.common import error_console, leave, report_error
from nbship.errors import ExitCode, NbshipError, UsageError

app = typer.Typer(
    name="nbship",
    help="Ship notebooks to production: run a pipeline, judge its model, publish, serve and deploy it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# In the order of `nbship --help`.
_PANELS: dict[str, tuple[ModuleType, ...]] = {
    "Begin": (init, new, split, show, config, lint, data, add),
    "Run and judge": (run, sweep, runs, open_command),
    "Publish and serve": (publish, serve, package, mlflow, app_command),
    "Run on Kubeflow": (compile_command, image, submit, schedule),
    "Deploy with KServe": (deploy,),
    "Watch what serves": (records, monitor, retrain),
    "Work with a forge": (changes, report, chatops),
}
for panel, groups in _PANELS.items():
    for group in groups:
        group.register(app)
    registered: list[CommandInfo | TyperInfo] = [*app.registered_commands, *app.registered_groups]
    for command in registered:
        command.rich_help_panel = command.rich_help_panel or panel


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"nbship {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    pass


def _wrong_usage(error: typer.TyperException) -> UsageError:
    """Words what typer found wrong with a command line as everything else is worded."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else app.info.name
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return UsageError(message.rstrip("."), f"see {command} --help")


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    leave(call(sys.argv[1:]))


def call(arguments: Sequence[str]) -> int:
    """Runs a command, and prints what is wrong if it fails.

    Args:
        arguments: What follows `nbship` on the command line.

    Returns:
        The exit code.

    Raises:
        NbshipError: With `--debug`, what is wrong.
    """
    try:
        code = app(list(arguments), standalone_mode=False)
    except NbshipError as error:
        if "--debug" in arguments:
            raise
        report_error(error)
        return error.exit_code
    except typer.TyperException as error:
        wrong = _wrong_usage(error)
        # Without a command the help is the message, and is printed by now.
        if wrong.message:
            report_error(wrong)
        return ExitCode.USAGE
    except (KeyboardInterrupt, typer.Abort):
        error_console.print("interrupted")
        return ExitCode.INTERRUPTED
    return code if isinstance(code, int) else ExitCode.DONE
