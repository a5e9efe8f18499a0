"""What will hurt when a notebook is split; what hurts in any notebook is looked for by `linting`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

from nbship.linting import check_notebook
from nbship.linting.calls import imports, short
from nbship.linting.cells import Source
from nbship.splitting.files import Mention
from nbship.splitting.flow import Facts
from nbship.splitting.plan import Concern, Crossing
from nbship.splitting.sections import Outline
from nbship.splitting.statements import Statement, StatementKind, calls, root_name

Opened = Mapping[int, Mapping[str, bool]]
# Findings that are about the code; outputs and metadata are none of a new notebook's.
_RULES = {
    *("absolute-path", "execution-order", "hidden-state", "install", "missing-module", "secret", "syntax"),
    *("unseeded", "working-directory"),
}
_LEARNS = re.compile(
    r"sklearn\.(preprocessing|impute|decomposition|feature_\w+|compose)\.[A-Z]\w+|imblearn\..*[A-Z]\w+"
)
_FITS = {"fit", "fit_transform", "fit_resample"}
_SPLIT = "sklearn.model_selection.train_test_split"
_SHELL = {"!", "bash", "sh", "script", "cmd", "system", "sx"}


def concerns(
    source: Source,
    statements: Sequence[Statement],
    cuts: Outline,
    crossings: Sequence[Crossing],
    files: Sequence[Mention],
    facts: Facts,
    opened: Opened,
) -> tuple[Concern, ...]:
    """Returns what will hurt, in the order of the notebook.

    Args:
        source: The notebook.
        statements: Its statements.
        cuts: Where it is cut.
        crossings: What goes from step to step.
        files: The places that name a file.
        facts: What variables were after each cell that changed them.
        opened: The project's files that each cell opened, and whether to write them.
    """
    found = [
        *(
            Concern(f.cell, f.rule, f.message, f.hint)
            for f in check_notebook(source.path, source.name)
            if f.rule in _RULES and f.cell not in cuts.skipped
        ),
        *_fitted_before_split(source, statements),
        *_shell(source, cuts),
        *_never_run(source, cuts),
        *_overwritten(statements, cuts, crossings),
        *_read_often(files, cuts),
        *_unclear_files(files),
        *_seeds(statements, cuts),
        *_opened(files, opened),
        *_aliases(statements, facts, crossings),
        *_kept_defaults(statements),
    ]
    return tuple(sorted(dict.fromkeys(found), key=lambda concern: concern.cell))


def _fitted_before_split(source: Source, statements: Sequence[Statement]) -> Iterator[Concern]:
    origins = imports(source)
    split = next((s for s in statements if any(name == _SPLIT for _, name in calls(s, origins))), None)
    if split is None:
        return
    made = {
        s.name: name
        for s in statements
        for _, name in calls(s, origins)
        if s.name and _LEARNS.fullmatch(name)
    }
    for s in statements[: split.position]:
        for call, _ in calls(s, origins):
            method = getattr(call.func, "attr", "")
            inner = [name for _, name in calls(s, origins) if _LEARNS.fullmatch(name)]
            maker = made.get(root_name(call.func)) or (inner[0] if inner and method in _FITS else "")
            if method in _FITS and maker:
                name = maker.rpartition(".")[2]
                message = f"{name} learns from all rows, before the split in cell {split.cell}"
                yield Concern(
                    s.cell,
                    "leak",
                    message,
                    "held-out rows leak in: split first, and put it into a Pipeline with the model",
                )


def _shell(source: Source, cuts: Outline) -> Iterator[Concern]:
    for cell in source.code:
        if cell.number in cuts.skipped:
            continue
        for magic, _ in cell.magics:
            if magic.name in _SHELL and not re.match(r"\s*(pip|conda|uv|mamba)\b", magic.text):
                message = f"a line for the shell: {short(magic.text or magic.body)}"
                yield Concern(
                    cell.number, "shell", message, "the image must have the program; write it in Python"
                )


def _never_run(source: Source, cuts: Outline) -> Iterator[Concern]:
    code = [cell for cell in source.code if cell.source.strip()]
    if not any(cell.content.get("execution_count") for cell in code):
        return
    for cell in code:
        if not cell.content.get("execution_count") and cell.number not in cuts.skipped:
            yield Concern(cell.number, "never-run", "the cell was never run", "run it, or tag it 'skip'")


def _overwritten(
    statements: Sequence[Statement], cuts: Outline, crossings: Sequence[Crossing]
) -> Iterator[Concern]:
    for name in dict.fromkeys(crossing.name for crossing in crossings):
        # What a name is made from is only carried on: cars = cars.dropna()
        binders = [s for s in statements if name in s.binds - s.reads and s.kind is StatementKind.CODE]
        sections = list(dict.fromkeys(filter(None, (cuts.section_of(s.cell) for s in binders))))
        if len(sections) > 1:
            cell = next(s.cell for s in binders if cuts.section_of(s.cell) == sections[1])
            message = f"'{name}' is overwritten across steps: {', '.join(sections)}"
            yield Concern(
                cell, "overwritten", message, "give each its own name; the last one before is taken"
            )


def _read_often(files: Sequence[Mention], cuts: Outline) -> Iterator[Concern]:
    read: dict[str, list[Mention]] = {}
    for mention in files:
        if not mention.written and not mention.loose:
            read.setdefault(mention.path, []).append(mention)
    written = {mention.path for mention in files if mention.written}
    for path, places in read.items():
        cells = sorted({mention.cell for mention in places})
        if len(cells) > 1 and path not in written:
            message = f"'{short(path)}' is read in several places: cells {', '.join(map(str, cells))}"
            yield Concern(cells[1], "read-often", message, "read it once, in the first step")
        if places[0].is_address:
            message = f"'{short(path)}' is fetched from the network in each run"
            yield Concern(cells[0], "network", message, "keep a copy in data/ under DVC, and read that")
    firsts = {cuts.section_of(places[0].cell) for path, places in read.items() if path not in written}
    if len(firsts - {""}) > 1:
        late = max(places[0].cell for path, places in read.items() if path not in written)
        message = f"data is read in several steps: {', '.join(sorted(firsts - {''}))}"
        yield Concern(late, "read-often", message, "read all of it in the first step")


def _unclear_files(files: Sequence[Mention]) -> Iterator[Concern]:
    for mention in files:
        if mention.loose:
            message = (
                f"no input declares what is at '{short(mention.path)}': the cache does not see it change"
            )
            hint = "read each file by its whole name, in one text, and it becomes an input"
            yield Concern(mention.cell, "undeclared-file", message, hint)
        if mention.node is None and not mention.is_address:
            verb = "written" if mention.written else "read"
            message = (
                f"'{short(mention.path)}' is {verb} under a name that cannot be replaced; it is not declared"
            )
            yield Concern(
                mention.cell, "undeclared-file", message, "name the file in one text, in plain Python"
            )


def _seeds(statements: Sequence[Statement], cuts: Outline) -> Iterator[Concern]:
    if len(cuts.sections) < 2:
        return
    for s in statements:
        if s.kind is StatementKind.SETTING and "seed" in s.text.partition("(")[0]:
            message = (
                f"{short(s.text)}: each step that has the library begins with it, so later draws may differ"
            )
            yield Concern(s.cell, "seed", message, "pass a seed to each that draws: random_state=seed")


def _opened(files: Sequence[Mention], opened: Opened) -> Iterator[Concern]:
    """Files that cells were seen to open, and that no text of the code names."""
    known = {posixpath.normpath(mention.path) for mention in files if not mention.loose}
    for cell, paths in opened.items():
        for path, written in paths.items():
            if posixpath.normpath(path) not in known:
                known.add(posixpath.normpath(path))
                verb, kind = ("written", "output") if written else ("read", "input")
                message = f"'{short(path)}' is {verb} here, and no {kind} declares it: its name is made up"
                hint = "name the file in one text, or declare it in the parameters cell of the step"
                yield Concern(cell, "undeclared-file", message, hint)


def _aliases(
    statements: Sequence[Statement], facts: Facts, crossings: Sequence[Crossing]
) -> Iterator[Concern]:
    """Variables that changed in a cell that does not name them: two names of one object."""
    crossing = {c.name for c in crossings if c.kind in ("table", "series", "array")}
    first: set[str] = set()
    for cell, seen in facts.items():
        own = [s for s in statements if s.cell == cell]
        named = {name for s in own for name in s.binds | s.reads | s.later}
        functions = {s.name: s.later for s in statements if s.kind is StatementKind.FUNCTION}
        named |= {name for function in named & functions.keys() for name in functions[function]}
        for name in (crossing & first & seen.keys()) - named:
            message = f"'{name}' changes here, where it is not named: another variable is the same object"
            yield Concern(cell, "alias", message, f"copy it where the other one is made: {name}.copy()")
        first |= seen.keys()


def _kept_defaults(statements: Sequence[Statement]) -> Iterator[Concern]:
    """Functions whose defaults are variables: they keep the value of then, and a copy has that of now."""
    for s in (s for s in statements if s.kind is StatementKind.FUNCTION):
        for other in statements[s.position + 1 :]:
            for name in s.reads & other.binds if other.kind is StatementKind.CODE else ():
                message = (
                    f"{s.name}() keeps '{name}' as it was here; cell {other.cell} gives it another value"
                )
                yield Concern(s.cell, "default", message, "pass it as an argument in each call")
