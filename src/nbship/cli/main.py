"""`nbship`: the one program. Registers the command groups and turns errors into lines and exit codes."""

from __future__ import annotations

import sys

import typer

from nbship import __version__
from nbship.cli import compile as compile_command
from nbship.cli import data, publish, run, runs, schedule, show, submit
from nbship.cli.common import error_console, leave, report_error
from nbship.errors import ExitCode, NbshipError, UsageError

app = typer.Typer(
    name="nbship",
    help="Ship notebooks to production: run a pipeline here, judge its model, take it to Kubeflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


for group in (run, runs, show, publish, data, compile_command, submit, schedule):
    group.register(app)


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
    try:
        code = app(standalone_mode=False)
    except NbshipError as error:
        if "--debug" in sys.argv:
            raise
        report_error(error)
        leave(error.exit_code)
    except typer.TyperException as error:
        wrong = _wrong_usage(error)
        # Without a command the help is the message, and is printed by now.
        if wrong.message:
            report_error(wrong)
        leave(ExitCode.USAGE)
    except (KeyboardInterrupt, typer.Abort):
        error_console.print("interrupted")
        leave(ExitCode.INTERRUPTED)
    leave(code if isinstance(code, int) else ExitCode.DONE)
