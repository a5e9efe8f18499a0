"""From a notebook, and what is known of it, to the plan of its steps."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from nbship.errors import UsageError, suggestion
from nbship.linting.calls import imports
from nbship.linting.cells import Source
from nbship.notebook import PARAMETERS_TAG, Role, Signature, Variable, read_signature
from nbship.splitting import concerns, kinds
from nbship.splitting.concerns import Opened
from nbship.splitting.files import Mention, file_type, loose_paths, mentions, only_in_names, variable_name
from nbship.splitting.flow import Facts, Flow, SplitNotebook
from nbship.splitting.judging import hand_on_rows
from nbship.splitting.plan import Concern, Crossing, File, SplitPlan, StepPlan
from nbship.splitting.sections import Outline, heading_of, outline
from nbship.splitting.sharing import constants_of, module_names, shared_functions, users
from nbship.splitting.statements import Statement, StatementKind, calls, read_statements
from nbship.splitting.wishes import Wishes, with_wishes
from nbship.values import ValueTypeError, check_value


@dataclass(frozen=True)
class Read:
    """A notebook as it is read, before it is known what crosses.

    Attributes:
        source: The notebook.
        statements: Its statements.
        cuts: Where it is cut.
        mentions: The places that name a file.
        loose: Other texts that are paths from the notebook's folder.
    """

    source: Source
    statements: tuple[Statement, ...]
    cuts: Outline
    mentions: tuple[Mention, ...]
    loose: tuple[Mention, ...] = ()


def read(source: Source, wishes: Wishes, exists: Callable[[str], bool] = lambda _: False) -> Read:
    """Reads the statements of a notebook and where to cut it.

    Args:
        source: The notebook.
        wishes: What a person wants otherwise.
        exists: Whether there is something under a path that is relative to the notebook's folder.

    Raises:
        UsageError: It is not in Python, has nothing that could be a step, or the wishes do not fit.
    """
    if not source.is_python:
        raise UsageError(f"{source.name}: a notebook in another language", "split a notebook in Python")
    statements = read_statements(source)
    cuts = with_wishes(outline(source, statements), wishes, source)
    broken = next(
        (
            cell
            for cell in source.code
            if cell.number not in cuts.skipped and isinstance(cell.parsed, SyntaxError)
        ),
        None,
    )
    if broken is not None:
        raise UsageError(
            f"{source.name}, cell {broken.number}: not valid Python", "correct the cell, or tag it 'skip'"
        )
    statements = read_statements(source, cuts.skipped)
    if not any(s.kind is StatementKind.CODE for s in statements):
        raise UsageError(
            f"{source.name}: has no code that could be a step", "give a notebook that does something"
        )
    for s in statements:
        apart = cuts.section_of(s.cell) or s.cell in cuts.parameters | cuts.metrics
        if s.kind is StatementKind.CODE and not apart and cuts.by in ("plan", "tags"):
            raise UsageError(
                f"{source.name}, cell {s.cell}: is in no step, and does more than define",
                "give it to a step, or leave it out: skip",
            )
    named = mentions(source, statements)
    return Read(source, statements, cuts, named, loose_paths(source, statements, named, exists))


def propose(
    notebook: Read,
    name: str,
    wishes: Wishes,
    facts: Facts,
    parquet: bool = False,
    opened: Opened = MappingProxyType({}),
) -> SplitPlan:
    """Returns the plan of a notebook's steps.

    Args:
        notebook: As it was read.
        name: The pipeline.
        wishes: What a person wants otherwise.
        facts: What variables were after each cell, where it was run.
        parquet: Whether Parquet can be read here.
        opened: The project's files that each cell opened, where it was run.

    Raises:
        UsageError: The wishes name what is not there.
    """
    source, statements, cuts = notebook.source, notebook.statements, notebook.cuts
    signature = _signature(source, cuts)
    files = _files(notebook, signature)
    parameters = _parameters(notebook, signature, wishes, files)
    declared = frozenset(v.name for v in signature.variables if v.role is not Role.PARAMETER)
    unread = {
        s.position: only_in_names(
            s, [m.node for m in notebook.mentions if m.position == s.position and m.node]
        )
        for s in statements
    }
    known = SplitNotebook(source, statements, cuts, facts, parameters, declared, wishes.store, unread)
    first = Flow(known)
    files = [_with_places(file, notebook, known, first) for file in files]
    shared = shared_functions(known, first, frozenset(m.position for m in notebook.mentions if m.node))
    flow = Flow(known, shared)
    rows = hand_on_rows(flow, wishes.gate) if wishes.gate else {}
    crossings = flow.result()
    steps = tuple(_step(known, flow, section.name, crossings, files, signature) for section in cuts.sections)
    steps = tuple(replace(s, after=_after(s, cuts, steps)) for s in steps)
    steps = tuple(replace(s, rows=rows.get(s.name, {})) for s in steps)
    named = (*notebook.mentions, *notebook.loose)
    names = {name for s in statements for name in s.binds | s.reads | s.later}
    used = {parameter for step in steps for parameter in step.parameters}
    needed = {n for p in shared for n in statements[p].reads | statements[p].later}
    return SplitPlan(
        name=name,
        notebook=source.name,
        title=_title(source),
        by=cuts.by,
        steps=steps,
        crossings=crossings,
        parameters={key: variable for key, variable in parameters.items() if key in used},
        files=_with_users(files, steps),
        module=tuple(sorted({*shared, *constants_of(known, shared)})),
        module_imports={
            s.position: frozenset(s.binds & needed)
            for s in statements
            if s.kind is StatementKind.IMPORT and s.binds & needed
        },
        results={v.name: v for v in signature.results.values()},
        skipped=tuple(sorted(cuts.skipped)),
        parquet=parquet,
        gate=wishes.gate,
        metrics="metrics_file" if "metrics" in names else "metrics",
        problems=(*flow.problems, *_taken(crossings, names)),
        concerns=concerns.concerns(source, statements, cuts, crossings, named, facts, opened),
        undecided=tuple(flow.undecided),
    )


def _taken(crossings: Sequence[Crossing], names: set[str]) -> Iterator[Concern]:
    """Variables whose files would be called as variables of the notebook are."""
    for c in crossings:
        for name in {c.artifact, f"{c.name}_before"} & names - {c.name}:
            message = f"'{name}' is a name of the notebook, and would be that of the file of '{c.name}'"
            yield Concern(0, "name", message, f"rename the variable '{name}'")


def _title(source: Source) -> str:
    return next((title for cell in source.cells if (title := heading_of(cell, 1))), "")


def _signature(source: Source, cuts: Outline) -> Signature:
    """What a parameters cell of papermill's declares; nothing if there is none, or it is no signature."""
    cell = next((c for c in source.code if PARAMETERS_TAG in c.tags and c.number in cuts.parameters), None)
    if cell is None:
        return Signature(())
    return read_signature(cell.source, f"{source.name}, cell {cell.number}")


def _parameters(
    notebook: Read, signature: Signature, wishes: Wishes, files: Sequence[File]
) -> dict[str, Variable]:
    found: dict[str, Variable] = dict(signature.parameters)
    constants = {s.name: s for s in notebook.statements if s.kind is StatementKind.CONSTANT}
    if wishes.parameters is not None:
        for name in wishes.parameters:
            if name not in constants and name not in found:
                raise UsageError(
                    f"parameters: there is no constant '{name}'", suggestion(name, [*constants, *found])
                )
        chosen = [constants[name] for name in wishes.parameters if name in constants]
        found = {name: v for name, v in found.items() if name in wishes.parameters}
    elif notebook.cuts.parameters:
        tagged = [s for s in notebook.statements if s.cell in notebook.cuts.parameters]
        chosen = [s for s in tagged if s.kind is StatementKind.CONSTANT]
    else:
        top = itertools.takewhile(lambda s: s.kind is not StatementKind.CODE, notebook.statements)
        chosen = [s for s in top if s.kind is StatementKind.CONSTANT]
    paths = [file.path for file in files]
    for s in chosen:
        variable = _parameter(s)
        if variable and s.name not in found and not (wishes.parameters is None and variable.default in paths):
            found.setdefault(s.name, variable)
    return found


def _parameter(s: Statement) -> Variable | None:
    kind = type(s.literal).__name__
    if s.name.startswith("_"):
        return None
    try:
        value = check_value(kind, s.literal)
    except ValueTypeError:
        return None
    _, mark, comment = s.text.splitlines()[-1].partition("  #")
    return Variable(s.name, Role.PARAMETER, kind, value, comment.strip() if mark else "")


def _files(notebook: Read, signature: Signature) -> list[File]:
    taken = {name for s in notebook.statements for name in s.binds | s.reads | s.later}
    taken |= {variable.name for variable in signature.variables}
    found: dict[str, File] = {}
    declared = {**signature.inputs, **signature.outputs}
    for mention in notebook.mentions:
        if mention.node is None or mention.is_address or mention.path in found:
            continue
        found[mention.path] = File(
            variable_name(mention.path, taken), mention.path, file_type(mention.path), (), ()
        )
    own = (File(v.name, v.default, v.type, (), (), True, v.help) for v in declared.values())
    return [*own, *found.values()]


def _with_places(file: File, notebook: Read, known: SplitNotebook, flow: Flow) -> File:
    """A file with the steps that read and write it; what a function does, its users do."""
    writers, readers = dict[str, None](), dict[str, None]()
    for mention in (m for m in notebook.mentions if m.path == file.path and m.node):
        s = notebook.statements[mention.position]
        home = [notebook.cuts.section_of(mention.cell)]
        order = [section.name for section in notebook.cuts.sections]
        where = sorted(users(known, flow, s), key=order.index) if s.kind is StatementKind.FUNCTION else home
        (writers if mention.written else readers).update(dict.fromkeys(filter(None, where)))
    return replace(file, readers=tuple(r for r in readers if r not in writers), writers=tuple(writers))


def _step(
    notebook: SplitNotebook,
    flow: Flow,
    section: str,
    crossings: Sequence[Crossing],
    files: Sequence[File],
    signature: Signature,
) -> StepPlan:
    needs = flow.needs[section]
    own = notebook.of(section)
    part = next(s for s in notebook.outline.sections if s.name == section)
    settings = tuple(p for p in sorted(needs.copies) if notebook.statements[p].kind is StatementKind.SETTING)
    module = needs.module | module_names(notebook, flow, section)
    used = needs.declared
    first = {name: next((s for s, n in flow.needs.items() if name in n.declared), "") for name in used}
    reads = [f.variable for f in files if section in f.readers]
    writes = [f.variable for f in files if section in f.writers]
    for name in sorted(used):
        if name in signature.inputs or (name in signature.outputs and first[name] != section):
            reads.append(name)
        elif name in signature.outputs:
            writes.append(name)
    return StepPlan(
        name=section,
        title=part.title,
        cells=part.cells,
        takes=dict(sorted(needs.takes.items())),
        gives=tuple(c.name for c in crossings if c.source == section and c.kind != kinds.AGAIN),
        parameters=tuple(name for name in notebook.parameters if name in used),
        imports={position: frozenset(names) for position, names in sorted(needs.imports.items())},
        settings=settings,
        copies=tuple(p for p in sorted(needs.copies) if p not in settings),
        module=tuple(sorted(module)),
        reads=tuple(reads),
        writes=tuple(writes),
        metrics=_metrics(notebook, section, own),
        results=tuple(name for name in signature.results if any(name in s.binds for s in own)),
        follows=part.after or (),
    )


def _metrics(notebook: SplitNotebook, section: str, own: Sequence[Statement]) -> tuple[str, ...]:
    """Numbers that tell how good a model is: what scikit-learn's metrics and `score` return."""
    origins = imports(notebook.source)
    found: dict[str, None] = {}
    for s in own:
        named = [name for call, name in calls(s, origins) if call is s.value]
        method = (
            s.value.func.attr
            if isinstance(s.value, ast.Call) and isinstance(s.value.func, ast.Attribute)
            else ""
        )
        measured = bool(named) and (named[0].startswith("sklearn.metrics.") or method == "score")
        fact = notebook.facts.get(s.cell, {}).get(s.name)
        if (
            measured
            and s.name
            and (fact.kind in ("float", "int") if fact else kinds.infer(s.name, own, origins) == "float")
        ):
            found[s.name] = None
    if section == notebook.outline.sections[-1].name:
        for s in (s for s in notebook.statements if s.cell in notebook.outline.metrics):
            found |= dict.fromkeys(name for name in sorted(s.reads) if any(name in t.binds for t in own))
    return tuple(found)


def _after(step: StepPlan, cuts: Outline, steps: Sequence[StepPlan]) -> tuple[str, ...]:
    """Steps that must come before although nothing is taken from them."""
    said = next(s.after for s in cuts.sections if s.name == step.name) or ()
    files = {other.name for other in steps if set(other.writes) & set(step.reads)}
    return tuple(other for other in said if other not in {*step.takes.values(), *files})


def _with_users(files: Sequence[File], steps: Sequence[StepPlan]) -> tuple[File, ...]:
    with_users = (
        replace(
            file,
            readers=tuple(step.name for step in steps if file.variable in step.reads),
            writers=tuple(step.name for step in steps if file.variable in step.writes),
        )
        for file in files
    )
    return tuple(file for file in with_users if file.readers or file.writers)
