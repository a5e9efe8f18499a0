"""Follows every name of a notebook to where it comes from, and so finds what each step must be given.

A function counts with all that it uses, wherever that is defined: globals of functions are what such a cut
usually loses.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nbship.linting.calls import imports
from nbship.linting.cells import Source
from nbship.notebook import Variable
from nbship.splitting import kinds
from nbship.splitting.kinds import AGAIN, OTHER, UNKNOWN, Fact
from nbship.splitting.plan import Concern, Crossing
from nbship.splitting.sections import Outline, is_set_up
from nbship.splitting.statements import Statement, StatementKind

Facts = Mapping[int, Mapping[str, Fact]]
# What stands in a picture that several cells draw cannot be made again by its first line.
_DRAWN = ("matplotlib.", "plotly.", "bokeh.", "altair.")


@dataclass
class Needs:
    """What a step, or the module, needs from elsewhere; see `plan.Step`."""

    takes: dict[str, str] = field(default_factory=dict)
    imports: dict[int, set[str]] = field(default_factory=dict)
    copies: set[int] = field(default_factory=set)
    module: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    declared: set[str] = field(default_factory=set)

    def imported(self) -> set[str]:
        """Returns the imported names."""
        return {name for names in self.imports.values() for name in names}


@dataclass(frozen=True)
class SplitNotebook:
    """What is known of the notebook that is split.

    Attributes:
        source: The notebook.
        statements: Its statements, by position.
        outline: Where it is cut.
        facts: What variables were after each cell that changed them; of no cell if it was not run.
        parameters: By name.
        declared: Names of files and results that its own parameters cell declares.
        store: How variables go from step to step where a person has said it.
        unread: Names that a statement only mentions in the name of a file, by position.
    """

    source: Source
    statements: tuple[Statement, ...]
    outline: Outline
    facts: Facts
    parameters: Mapping[str, Variable]
    declared: frozenset[str]
    store: Mapping[str, str]
    unread: Mapping[int, frozenset[str]] = field(default_factory=dict)

    def of(self, section: str) -> list[Statement]:
        """Returns the statements of a section."""
        cells = next(s.cells for s in self.outline.sections if s.name == section)
        return [s for s in self.statements if s.cell in cells]

    def reads(self, statement: Statement) -> frozenset[str]:
        """Returns what a statement uses at once."""
        return statement.reads - self.unread.get(statement.position, frozenset())


class Flow:
    """Resolves names, step by step; what it finds is in its attributes.

    Attributes:
        needs: By step.
        crossings: What crosses, by name and giving step.
        problems: What cannot be split so.
        undecided: What only a person can tell.
    """

    def __init__(self, notebook: SplitNotebook, module: frozenset[int] = frozenset()) -> None:
        self.notebook = notebook
        self.module = module
        self.origins = imports(notebook.source)
        self.needs: dict[str, Needs] = {}
        self.crossings: dict[tuple[str, str], list[str]] = {}
        self.kinds: dict[tuple[str, str], tuple[str, Fact | None]] = {}
        self.problems: dict[Concern, None] = {}
        self.undecided: dict[Concern, None] = {}
        self._section = {s.position: notebook.outline.section_of(s.cell) for s in notebook.statements}
        self._ancestors = _ancestors(notebook.outline)
        for section in notebook.outline.sections:
            self._follow(section.name)

    def result(self) -> tuple[Crossing, ...]:
        """Returns what crosses."""
        return tuple(
            Crossing(name, source, tuple(targets), *self.kinds[name, source])
            for (name, source), targets in self.crossings.items()
        )

    def _follow(self, section: str) -> None:
        self.needs[section] = Needs()
        own = self.notebook.of(section)
        bound: set[str] = set()
        later: set[str] = set()
        functions: dict[str, frozenset[str]] = {}
        maybe: set[str] = set()  # what a branch may define: if it does not, what was there before counts
        for statement in own:
            if statement.position in self.module:
                continue
            for name in sorted(self._uses(statement, functions) - bound):
                self._resolve(section, name, statement.position, optional=name in maybe)
            if statement.kind is StatementKind.FUNCTION:
                functions[statement.name] = statement.later
            later |= statement.later
            bound |= statement.surely - self.notebook.parameters.keys()
            maybe |= statement.binds
        end = own[-1].position + 1 if own else 0
        for name in sorted(later - bound):
            self._resolve(section, name, end, optional=name in maybe)
        libraries = self.needs[section].imported()
        libraries |= {name for s in own if s.kind is StatementKind.IMPORT for name in s.binds}
        for s in self.notebook.statements[:end]:
            if s.kind is StatementKind.SETTING and s not in own and self._applies(s, libraries):
                self._copy(section, s, s.position)

    def _uses(self, statement: Statement, functions: Mapping[str, frozenset[str]]) -> set[str]:
        """What a statement needs when it runs, with what the step's own functions use that it may call."""
        used = set(self.notebook.reads(statement))
        if statement.kind is not StatementKind.FUNCTION:  # a lambda in it is called in it
            used |= statement.later - statement.binds
        while more := {name for call in used & functions.keys() for name in functions[call]} - used:
            used |= more
        return used

    def _applies(self, setting: Statement, libraries: set[str]) -> bool:
        """Whether a line that sets a library up counts for a step: it has the library, and needs no data."""
        if setting.cell in self.notebook.outline.skipped:
            return False
        needed = [(name, self._definition(name, setting.position)) for name in setting.reads]
        plain = all(
            name in self.notebook.parameters
            or (made is not None and made.kind in (StatementKind.IMPORT, StatementKind.CONSTANT))
            for name, made in needed
        )
        return plain and any(
            made is not None and made.kind is StatementKind.IMPORT and name in libraries
            for name, made in needed
        )

    def give(self, section: str, expression: ast.expr) -> None:
        """Makes the names of an expression known at the end of a step."""
        own = self.notebook.of(section)
        bound = {name for s in own for name in s.binds if s.position not in self.module}
        for part in ast.walk(expression):
            if isinstance(part, ast.Name) and part.id not in bound | set(dir(builtins)):
                self._resolve(section, part.id, own[-1].position + 1)

    def last_holder(self, name: str) -> str:
        """Returns the step that has a variable last; empty if none has."""
        return next(iter(self._holders(name, len(self.notebook.statements))[::-1]), "")

    def hand_on(self, name: str, section: str, kind: str) -> None:
        """Has a step give a variable, whoever takes it."""
        before = self.kinds.get((name, section))
        self.kinds[name, section] = (kind, before[1] if before else None)
        self.crossings.setdefault((name, section), [])

    def _resolve(self, section: str, name: str, position: int, optional: bool = False) -> None:
        """Finds where a step gets a name from that one of its statements uses, or may have to use."""
        needs = self.needs[section]
        if name in needs.names:
            return
        needs.names.add(name)
        if name in self.notebook.parameters or name in self.notebook.declared:
            needs.declared.add(name)
            return
        made = self._maker(section, name, position)
        if made is not None and made.kind is StatementKind.IMPORT:
            needs.imports.setdefault(made.position, set()).add(name)
        elif made is not None and made.position in self.module:
            needs.module.add(name)
        elif made is not None and made.kind in (StatementKind.FUNCTION, StatementKind.CONSTANT):
            self._copy(section, made, position)
        else:
            self._take_variable(section, name, made, position, optional)

    def _maker(self, section: str, name: str, position: int) -> Statement | None:
        """The last statement before a place that defines a name; a function may also use a later one's."""
        found = [
            s
            for s in self.notebook.statements
            if name in s.binds
            and s.cell not in self.notebook.outline.skipped
            and (self._section[s.position] != section or s.position in self.module)
        ]
        before = [s for s in found if s.position < position]
        allowed = [s for s in before if self._may_give(self._section[s.position], section)]
        return next(iter([*allowed[::-1], *before[::-1]]), None)

    def _definition(self, name: str, position: int) -> Statement | None:
        """The last statement before a place that defines a name, wherever it is."""
        found = (s for s in reversed(self.notebook.statements[:position]) if name in s.binds)
        return next(found, None)

    def _may_give(self, giver: str, taker: str) -> bool:
        return not giver or giver in self._ancestors[taker]

    def _copy(self, section: str, statement: Statement, position: int) -> None:
        needs = self.needs[section]
        if statement.position in needs.copies:
            return
        needs.copies.add(statement.position)
        own = {name for s in self.notebook.of(section) for name in s.binds if s.position < position}
        own -= self.notebook.parameters.keys()
        for name in sorted(statement.reads):  # at once, above the step's own cells
            self._resolve(section, name, statement.position)
        for name in sorted(statement.later - own - {statement.name}):
            self._resolve(section, name, position)

    def _take_variable(
        self, section: str, name: str, made: Statement | None, position: int, optional: bool = False
    ) -> None:
        """A variable: taken from the step that has it last, or made again where it cannot be stored."""
        if made is not None and not self._section[made.position] and made.kind is StatementKind.CODE:
            self._make_again(section, name, "", made, None)  # a logger of a cell that is part of no step
            return
        if made is not None and name not in self.notebook.store and self._is_definition(made):
            self._copy(section, made, position)
            return
        holders = [other for other in self._holders(name, position) if other != section]
        allowed = [other for other in holders if self._may_give(other, section)]
        if not holders:
            stars = [s.position for s in self.notebook.statements if _is_star(s) and s.position < position]
            for star in stars:
                self.needs[section].imports.setdefault(star, set()).add("*")
            if optional or stars or not self._is_hidden(name):
                return
            message = f"'{name}' is used in step '{section}', and no cell before it defines it"
            cell = self.notebook.statements[min(position, len(self.notebook.statements) - 1)].cell
            self.problems[Concern(cell, "hidden-state", message, "define it in a cell above")] = None
            return
        giver = (allowed or holders)[-1]
        self._take_before_branch(giver, name)
        kind, fact = self._kind(name, giver, position)
        again = made is not None and self._can_be_made_again(made, fact, set())
        if kind == AGAIN or (kind == OTHER and again):
            if made is not None:
                self._make_again(section, name, giver, made, fact)
            return
        if kind == OTHER:
            why = fact.why if fact and fact.why else "it cannot be stored"
            said = f" ({fact.type})" if fact and fact.type else ""
            message = f"'{name}'{said} crosses from '{giver}' to '{section}', and {why}"
            cell = made.cell if made else 0
            self.problems[Concern(cell, "no-format", message, _remedy(name, fact))] = None
            kind = UNKNOWN
        self.kinds[name, giver] = (kind, fact)
        self.crossings.setdefault((name, giver), []).append(section)
        self.needs[section].takes[name] = giver

    def _take_before_branch(self, giver: str, name: str) -> None:
        """Has a step that only a branch makes give a variable take it as well, for when that is not run."""
        own = [s for s in self.notebook.of(giver) if name in s.binds]
        if own and not any(name in s.surely for s in own):
            self._resolve(giver, name, own[0].position, optional=True)

    def _make_again(self, section: str, name: str, giver: str, made: Statement, fact: Fact | None) -> None:
        self.kinds[name, giver] = (AGAIN, fact)
        self.crossings.setdefault((name, giver), []).append(section)
        for statement in (made, *self._set_up(made)):
            self._copy(section, statement, made.position)

    def _holders(self, name: str, position: int) -> list[str]:
        """The sections that define or change a variable before a place, in order."""
        found: dict[str, int] = {}
        for section in self.notebook.outline.sections:
            for s in self.notebook.of(section.name):
                if s.position < position and (name in s.binds or self._changes(s, name)):
                    found[section.name] = s.position
        return sorted(found, key=lambda section: found[section])

    def _changes(self, statement: Statement, name: str) -> bool:
        """Whether a statement changes an object: as it was seen to, or else as its code looks."""
        seen = self.notebook.facts.get(statement.cell)
        if seen is None:
            return name in statement.changes
        return name in seen and name in statement.reads | statement.changes

    def _kind(self, name: str, giver: str, position: int) -> tuple[str, Fact | None]:
        cells = next(s.cells for s in self.notebook.outline.sections if s.name == giver)
        # A cell that makes the same once more has changed nothing, and noted nothing.
        facts = [seen[name] for c, seen in self.notebook.facts.items() if name in seen and c <= max(cells)]
        fact = facts[-1] if facts else None
        wish = self.notebook.store.get(name)
        if wish:
            return wish, fact
        own = self.notebook.of(giver)
        if fact:
            again = name in {n for s in own for n in s.changes} and self._also_taken(name, giver)
            if fact.kind == "object" and fact.type.startswith(("pandas.", "numpy.")):
                message = (
                    f"how a file would keep '{name}' ({fact.type}, from '{giver}') as it is; joblib does"
                )
                hint = "give it plain columns and a plain index, or leave it so"
                self.undecided[Concern(cells[0], "kind", message, hint)] = None
            return ("json" if fact.kind in kinds.RESULTS and again else fact.kind), fact
        last = own[-1].position if own else position
        inferred = kinds.infer(
            name, [s for s in self.notebook.statements if s.position <= last], self.origins
        )
        if inferred == UNKNOWN:
            made = self._definition(name, position)
            message = f"what '{name}' is, from '{giver}'; it is kept with joblib"
            hint = (
                f"run the notebook once (without --no-run), or say it in the plan: store: {{{name}: table}}"
            )
            self.undecided[Concern(made.cell if made else 0, "kind", message, hint)] = None
        if inferred in kinds.RESULTS and self._also_taken(name, giver):
            return "json", None
        return inferred, None

    def _also_taken(self, name: str, section: str) -> bool:
        return name in self.needs[section].takes if section in self.needs else False

    def _is_hidden(self, name: str) -> bool:
        """Whether a name is nowhere: not even brought by a cell that is another program."""
        return not any(name in seen for seen in self.notebook.facts.values())

    def _can_be_made_again(self, made: Statement, fact: Fact | None, seen: set[int]) -> bool:
        """Whether a statement needs nothing that the notebook has computed."""
        if made.value is None or made.position in seen or (fact and fact.type.startswith(_DRAWN)):
            return False
        for name in made.reads | made.later:
            if name in self.notebook.parameters or name in self.notebook.declared:
                continue
            other = self._definition(name, made.position)
            if other is None:
                return False
            if other.kind is StatementKind.CODE:
                light = kinds.is_handle(other, self.origins) or kinds.is_made_of_models(other, self.origins)
                if not light or not self._can_be_made_again(other, None, {*seen, made.position}):
                    return False
        return True

    def _is_definition(self, made: Statement) -> bool:
        """Whether a statement sets up models that nothing fits or changes: it goes along as functions do."""
        others = [s for s in self.notebook.statements if s is not made]
        touched = any(made.name in s.binds | s.changes for s in others)
        seen = any(made.name in names for cell, names in self.notebook.facts.items() if cell != made.cell)
        models = kinds.is_made_of_models(made, self.origins)
        return models and not touched and not seen and self._can_be_made_again(made, None, set())

    def _set_up(self, made: Statement) -> Iterable[Statement]:
        """Lines of the same cell that set an object up, such as the handlers of a logger."""
        for s in self.notebook.statements[made.position + 1 :]:
            if s.cell != made.cell:
                break
            if s.name != made.name and is_set_up(s, {made.name}):
                yield s


def _is_star(s: Statement) -> bool:
    return isinstance(s.node, ast.ImportFrom) and s.node.names[0].name == "*"


def _remedy(name: str, fact: Fact | None) -> str:
    if fact and fact.type.startswith(_DRAWN):
        return "draw the picture in one step: put its cells together in the plan"
    return (
        f"hand on a table, an array, a number or a list; or say in the plan, store: {{{name}: object}} "
        f"for joblib, or store: {{{name}: again}} to make it again in each step"
    )


def _ancestors(outline: Outline) -> dict[str, set[str]]:
    """The steps that each may take from: those above it, or those that it is said to follow."""
    above: list[str] = []
    ancestors: dict[str, set[str]] = {}
    for section in outline.sections:
        if section.after:
            known = [ancestors.get(other, set()) | {other} for other in section.after]
            ancestors[section.name] = set().union(*known)
        else:
            ancestors[section.name] = set(above)
        above.append(section.name)
    return ancestors
