"""`nbship split`: one notebook becomes the steps of a pipeline."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from nbship.cli.common import JsonOption, console, print_json
from nbship.errors import ExitCode, UsageError
from nbship.project import project_root

if TYPE_CHECKING:
    from nbship.splitting.plan import Concern, Crossing, SplitPlan, StepPlan
    from nbship.workflow.split import Checked, Proposal

_CUT_BY = {
    "tags": "the tags of its cells",
    "headings": "its headings",
    "flow": "what its cells do",
    "plan": "the plan",
}


class PlanFormat(StrEnum):
    """How a plan is shown."""

    TEXT = "text"
    MERMAID = "mermaid"
    SVG = "svg"
    YAML = "yaml"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(split)


def split(
    notebook: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="The notebook; it is only read.")],
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="The new pipeline; else named after the notebook.")
    ] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Show the plan, and write nothing.")] = False,
    form: Annotated[
        PlanFormat, typer.Option("--format", help="Show the plan as text, Mermaid, SVG, or YAML to edit.")
    ] = PlanFormat.TEXT,
    by: Annotated[
        Path | None, typer.Option("--by", metavar="FILE", help="An edited plan, as --format yaml prints it.")
    ] = None,
    no_run: Annotated[
        bool, typer.Option("--no-run", help="Do not run the notebook: infer types from its code.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Run the pipeline, and compare each cell's output.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Split a notebook into the steps of a pipeline, by its tags, its headings, or what its cells do.

    Runs the notebook once, as Run All does, to see what its variables are; writes notebooks/NAME/ and
    pipelines/NAME.yaml. Ends with 1 if --check finds a cell that shows something else.

    Example: nbship split churn.ipynb --plan
    """
    from nbship.workflow import split as workflow

    if plan and check:
        raise UsageError("--plan and --check exclude each other", "write the pipeline first, then check it")
    if form is not PlanFormat.TEXT and not plan:
        raise UsageError(f"--format {form} is for --plan", f"nbship split {notebook} --plan --format {form}")
    root = project_root()
    proposed = workflow.proposal(root, notebook, name, by, not no_run)
    if plan:
        _show(root, proposed, form, as_json)
        return ExitCode.DONE
    written = workflow.split(root, proposed, force)
    checked = workflow.check(root, proposed) if check else None
    if as_json:
        same = {"same": checked.same, "differ": [asdict(d) for d in checked.differences]} if checked else None
        print_json({"plan": asdict(proposed.plan), "written": written, "check": same})
    else:
        _print_plan(proposed.plan)
        console.print()
        for path in written:
            console.print(f"wrote     {escape(path)}")
        if checked:
            _print_check(checked)
        console.print(f"\nnext      nbship run {proposed.plan.name}")
    return ExitCode.FAILED if checked and checked.differences else ExitCode.DONE


def _show(root: Path, proposed: Proposal, form: PlanFormat, as_json: bool) -> None:
    import yaml

    from nbship.pages.drawing import graph_svg
    from nbship.workflow.show import mermaid
    from nbship.workflow.split import graph_of

    if as_json:
        print_json(asdict(proposed.plan))
    elif form is PlanFormat.YAML:
        text = yaml.safe_dump(proposed.plan.as_wishes(), sort_keys=False, allow_unicode=True)
        sys.stdout.write(f"# nbship split {proposed.plan.notebook} --by THIS_FILE\n{text}")
    elif form is PlanFormat.TEXT:
        _print_plan(proposed.plan)
    else:
        with graph_of(root, proposed) as graph:
            sys.stdout.write(mermaid(graph) if form is PlanFormat.MERMAID else graph_svg(graph) + "\n")


def _print_plan(plan: SplitPlan) -> None:
    from nbship.splitting.wishes import ranges

    console.print(f"[bold]{plan.name}[/]  {escape(plan.title or plan.notebook)}")
    steps = f"{len(plan.steps)} step{'' if len(plan.steps) == 1 else 's'}"
    console.print(f"  {steps}, cut by {_CUT_BY[plan.by]}", style="dim")
    for step in plan.steps:
        after = f", after {', '.join(step.after)}" if step.after else ""
        console.print(f"\n[bold]{step.name}[/]  {escape(step.title)}")
        console.print(f"  cells {ranges(step.cells)}{after}", style="dim")
        for word, text in _rows(plan, step):
            console.print(f"  {word:<4}  {text}")
    if again := sorted({c.name for c in plan.crossings if c.kind == "again"}):
        console.print(f"\nmade again in each step: {', '.join(again)}")
    if shared := sorted({name for step in plan.steps for name in step.module}):
        console.print(f"\n{plan.module_name}.py: {', '.join(shared)}")
    _print_concerns("cannot be split so", plan.problems)
    _print_concerns("will hurt", plan.concerns)
    _print_concerns("undecided", plan.undecided)


def _rows(plan: SplitPlan, step: StepPlan) -> Iterator[tuple[str, str]]:
    """What comes in, what can be set, what goes out."""
    paths = {file.variable: escape(file.path) for file in plan.files}
    yield from (("in", paths[name]) for name in step.reads)
    yield from (("in", f"[cyan]{name}[/] from {source}") for name, source in step.takes.items())
    for name in step.parameters:
        yield "set", f"[cyan]{name}[/] = {escape(_short(plan.parameters[name].default))}"
    for name in step.gives:
        yield "out", f"[cyan]{name}[/]  {_described(plan.crossing(name, step.name), plan.parquet)}"
    yield from (("out", paths[name]) for name in step.writes)
    yield from (("out", f"{name}: {escape(rows)}") for name, rows in step.rows.items())
    if step.metrics:
        yield "out", f"metrics: {', '.join(step.metrics)}"


def _print_concerns(title: str, found: tuple[Concern, ...]) -> None:
    if found:
        console.print(f"\n[bold]{title}[/]")
    for each in found:
        where = f"cell {each.cell}: " if each.cell else ""
        console.print(f"  {where}{escape(each.message)}")
        if each.hint:
            console.print(f"    {escape(each.hint)}", style="dim")


def _described(crossing: Crossing, parquet: bool) -> str:
    from nbship.splitting.plan import stored_as

    fact = crossing.fact
    parts = [stored_as(crossing, parquet)]
    if fact and not crossing.is_result:
        parts += [fact.shape, _size(fact.size)]
    to = f", to {', '.join(crossing.targets)}" if crossing.targets else ""
    return escape(f"{', '.join(filter(None, parts))}{to}")


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 1000 or unit == "GB":
            break
    return f"{value:.1f} {unit}"


def _print_check(checked: Checked) -> None:
    console.print()
    for each in checked.differences:
        console.print(f"[bold]cell {each.cell}[/], in {each.step}, shows something else:")
        for mark, text in (("-", each.before), ("+", each.after)):
            for line in text.splitlines()[:8]:
                console.print(f"  {mark} {escape(line)}", style="dim")
    random = f"; {len(checked.random)} differ each time" if checked.random else ""
    console.print(f"checked   {checked.same} cells show the same, {len(checked.differences)} do not{random}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
