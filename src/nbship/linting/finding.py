"""A finding, and the rules that there are; how each is looked for is elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# What to do about each, in a line.
RULES: Mapping[str, str] = {
    "absolute-path": "declare an Input or a parameter for it, or write it relative to the notebook",
    "duplicate-id": "nbship lint --fix gives each an id of its own",
    "editor-metadata": "nbship lint --fix removes it",
    "execution-order": "restart the kernel and run all cells, top to bottom",
    "hidden-state": "define it in a cell above, then restart the kernel and run all cells",
    "install": "add it to the project's requirements",
    "large-output": "show less of it, or clear the cell's output",
    "missing-id": "nbship lint --fix adds them",
    "missing-module": "nbship add NAME, or take the import out",
    "outputs": "nbship lint --fix clears them; a run keeps its own",
    "secret": "revoke it, for it is in Git's history too, and read it from the environment",
    "syntax": "correct the cell; it must run in Jupyter as it stands",
    "undeclared-input": 'declare it in the parameters cell: name: "Input[Dataset]" = "path"',
    "undeclared-output": 'declare it in the parameters cell: name: "Output[Artifact]" = "path"',
    "unseeded": "pass a seed: random_state=seed, default_rng(seed)",
    "unused-input": "read it, or remove it from the parameters cell",
    "unused-output": "write it, or remove it from the parameters cell",
    "unused-parameter": "use it, or remove it from the parameters cell",
    "working-directory": "stay in the notebook's folder, and write paths relative to it",
}
FIXABLE = frozenset({"duplicate-id", "editor-metadata", "missing-id", "outputs"})


@dataclass(frozen=True, order=True)
class LintFinding:
    """Something that will bite later.

    Attributes:
        file: The notebook, as the person called it.
        cell: Its number in the notebook, from 1; 0 for the whole notebook.
        line: The line in the cell, from 1; 0 for the whole cell.
        rule: One of `RULES`.
        message: What is wrong, in a line. Never shows a secret.
    """

    file: str
    cell: int
    line: int
    rule: str
    message: str

    @property
    def hint(self) -> str:
        """What to do, in a line."""
        return RULES[self.rule]

    @property
    def fixable(self) -> bool:
        """Whether `fix_notebook` removes it."""
        return self.rule in FIXABLE
