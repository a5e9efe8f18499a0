"""`nbship run`: a pipeline on this machine."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from nbship.cli.common import (
    ConfigOverrideOption,
    JsonOption,
    PipelineArgument,
    SetOption,
    console,
    error_console,
    print_json,
    report_error,
)
from nbship.errors import ExitCode, InterruptedRun, NbshipError, UsageError, suggestion
from nbship.project import project_root
from nbship.threads import available_cpus

if TYPE_CHECKING:
    from nbship.gate import Verdict
    from nbship.record import RunRecord
    from nbship.workflow.run import RunRequest

_KERNELS = {"warm": "nbship", "standard": "python3"}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(run)


def run(
    name: PipelineArgument,
    settings: SetOption = [],  # noqa: B006 - typer's form; it is not changed
    override_files: ConfigOverrideOption = [],  # noqa: B006
    sample: Annotated[
        bool, typer.Option("--sample", help="Use the pipeline's synthetic sample in place of its data.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Run every step, whatever the cache has.")] = False,
    from_step: Annotated[
        str, typer.Option("--from", metavar="STEP", help="Run this step and all that depends on it.")
    ] = "",
    only: Annotated[
        str, typer.Option("--only", metavar="STEP", help="Run this step; what it needs comes from the cache.")
    ] = "",
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", "-j", min=1, show_default="one per CPU", help="Steps that run at the same time."
        ),
    ] = available_cpus(),
    kernel: Annotated[str, typer.Option(help="warm (forked, ready at once) or standard.")] = "warm",
    watch: Annotated[
        bool, typer.Option("--watch", help="Run again whenever a notebook, own code or a setting is saved.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Run a pipeline here: fetch its data, run its notebooks, judge its model, write the run page.

    Steps whose code, parameters and inputs did not change come from the cache. Ends with 3 when rejected.

    Example: nbship run auto-mpg --set train.C=3
    """
    if kernel not in _KERNELS:
        raise UsageError(f"--kernel {kernel}: there is no such kernel", suggestion(kernel, _KERNELS))
    root = project_root()
    if kernel == "warm" and (force or from_step or only) and sys.platform == "linux":
        # Something will run for sure, so the kernels' server starts while the rest of nbship is imported.
        from nbship.kernels import forkserver

        forkserver.prepare()
    from nbship.workflow.run import RunRequest

    # A run that is told to end by the system ends as one that a person interrupts.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    request = RunRequest(
        pipeline=name,
        settings=settings,
        override_files=override_files,
        sample=sample,
        force=force,
        from_step=from_step,
        only=only,
        jobs=jobs,
        kernel=_KERNELS[kernel],
    )
    return _watch(root, request, as_json) if watch else _run(root, request, as_json)


def _watch(root: Path, request: RunRequest, as_json: bool) -> int:
    """Runs whenever something was saved, until a person ends it; ends as the last run did."""
    from nbship.workflow.watch import saved

    code: int = ExitCode.DONE
    try:
        for names in saved(root, request):
            if names:
                _report(f"\nsaved     {', '.join(names)}")
            try:
                code = _run(root, request, as_json)
            except InterruptedRun:
                raise
            except NbshipError as error:
                report_error(error)
                code = error.exit_code
            for signum in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signum, signal.default_int_handler)
            # What was forced is forced once.
            request = replace(request, force=False, from_step="")
            _report("\nwatching  saved notebooks run again; Ctrl-C ends it")
    except KeyboardInterrupt:
        pass
    return code


def _run(root: Path, request: RunRequest, as_json: bool) -> int:
    from nbship.cli.progress import progress, unread_is_fine
    from nbship.workflow.run import run

    with ExitStack() as shown:
        on_event = shown.enter_context(progress(as_json, request.jobs))

        def on_end(record: RunRecord, folder: Path) -> None:
            # There is nothing left to interrupt.
            for signum in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signum, signal.SIG_IGN)
            shown.close()
            with unread_is_fine():
                if as_json:
                    print_json({"event": "run", **record.model_dump(mode="json")})
                else:
                    _print_summary(record, folder)

        try:
            record, _ = run(root, request, on_event, _report, on_end)
        except KeyboardInterrupt:
            raise InterruptedRun(
                "interrupted; its kernels are ended",
                "resume with the same command: finished steps are reused",
            ) from None
    return ExitCode.DONE if record.verdict is None or record.verdict.passed else ExitCode.REJECTED


def _report(line: str) -> None:
    error_console.print(escape(line))


def _print_summary(record: RunRecord, folder: Path) -> None:
    from nbship.pages.formatting import metrics_text, synthetic_text

    console.print()
    if record.verdict:
        _print_verdict(record.verdict)
    synthetic = synthetic_text(record)
    if synthetic:
        console.print(f"data      [bold yellow]synthetic[/]: {escape(synthetic)}")
    for each in filter(lambda step: step.note, record.steps.values()):
        console.print(f"note      step '{escape(each.name)}': {escape(each.note)}")
    step = record.steps.get(record.gate.step) if record.gate else None
    metrics = metrics_text(step.metrics) if step else ""
    if metrics:
        console.print(f"metrics   {escape(metrics)}")
    outcome = "" if record.state == "done" else f"{record.state} after "
    console.print(f"run       {record.id}, {outcome}{record.seconds:.1f} s")
    from nbship.record import PAGE

    page = folder / PAGE
    if page.exists():
        console.print(f"page      {escape(os.path.relpath(page))}")
    following = _next(record, bool(synthetic))
    if following:
        console.print(f"\nnext      {following}")


def _print_verdict(verdict: Verdict) -> None:
    from nbship.pages.formatting import comparison_notes

    word = "[bold green]passed[/]" if verdict.passed else "[bold red]rejected[/]"
    console.print(f"gate      {word}: {escape('; '.join(verdict.reasons))}")
    for note in comparison_notes(verdict):
        console.print(f"          {escape(note)}")


def _next(record: RunRecord, synthetic: bool) -> str:
    if synthetic:
        return f"run it on the real data: nbship run {record.pipeline}"
    if record.verdict is None:
        return ""
    if record.verdict.passed:
        return f"nbship publish {record.pipeline} --commit"
    stays = "the champion stays; " if record.champion else ""
    return f"{stays}see why: nbship runs open {record.id}"
