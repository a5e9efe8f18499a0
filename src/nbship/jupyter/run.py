"""A run in a cell: shows itself, and gives what it made.

Reads the run's folder; starts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbship.errors import UsageError, suggestion
from nbship.jupyter import artifacts, cards
from nbship.pages import formatting
from nbship.project import project_root
from nbship.record import PAGE, Artifact, RunRecord, run_folder
from nbship.workflow import runs


class Run:
    """A run of a pipeline, as `nbship.run` returns it and `Run.find` finds it again.

    As the last line of a cell it shows itself: verdict, graph, metrics beside the champion's, plots, links.
    `run["train.model"]` loads what a step made; `list(run)` tells what there is.

    Args:
        record: What is written of it.
        folder: Where its files are.

    Example:
        >>> run = nbship.run("auto-mpg", {"train.C": 3})
        >>> run.passed, run.metrics["evaluate.rmse"]
        >>> model, held_out = run["train.model"], run["prepare.test_set"]
        >>> model.predict(held_out)
    """

    def __init__(self, record: RunRecord, folder: Path) -> None:
        self.record = record
        self.folder = folder

    @classmethod
    def find(cls, name: str = runs.LATEST) -> Run:
        """Finds a run.

        Args:
            name: The beginning of its id, `latest`, or `previous`.

        Raises:
            UsageError: No run fits, or several do.

        Example:
            >>> nbship.Run.find("previous")["train.model"]
        """
        root = project_root()
        record = runs.find(root, name)
        return cls(record, run_folder(root, record.pipeline, record.id))

    @property
    def id(self) -> str:
        """Its identifier."""
        return self.record.id

    @property
    def pipeline(self) -> str:
        """The name of its pipeline."""
        return self.record.pipeline

    @property
    def state(self) -> str:
        """How it ended: done, failed or interrupted."""
        return str(self.record.state)

    @property
    def passed(self) -> bool | None:
        """Whether the gate let its model pass; None where no gate was asked."""
        return self.record.verdict.passed if self.record.verdict else None

    @property
    def reasons(self) -> tuple[str, ...]:
        """What decided how it ended, a sentence each."""
        return formatting.outcome(self.record).reasons

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.record.seconds

    @property
    def metrics(self) -> dict[str, float]:
        """Every number that a step measured, by `step.metric`."""
        return self.record.metrics

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter, by `step.parameter`."""
        return {
            f"{step.name}.{name}": value
            for step in self.record.steps.values()
            for name, value in step.parameters.items()
        }

    @property
    def notebooks(self) -> dict[str, Path]:
        """The executed notebook of each step that ran."""
        steps = self.record.steps.values()
        return {step.name: self.folder / step.notebook for step in steps if step.notebook}

    @property
    def page(self) -> Path:
        """The run page."""
        return self.folder / PAGE

    def keys(self) -> list[str]:
        """Returns what the run made: `step.output`, files and results."""
        return [
            f"{step.name}.{name}"
            for step in self.record.steps.values()
            for name in {**step.outputs, **step.results}
        ]

    def path(self, name: str) -> Path:
        """Returns where a file is that a step made.

        Args:
            name: `step.output`.

        Raises:
            UsageError: The run made no such file.
        """
        made = self._made(name)
        if not isinstance(made, Artifact):
            raise UsageError(f"'{name}' is a value, not a file", f"run['{name}'] is the value")
        return self.folder / made.path

    def __getitem__(self, name: str) -> Any:
        """Loads what a step made: a table, a model, arrays, plain data, a value; else returns the path.

        Args:
            name: `step.output`.

        Raises:
            UsageError: The run made no such thing.
            NbshipError: The file is gone, is not what the run made, or cannot be loaded here.
        """
        made = self._made(name)
        return artifacts.load(made, self.folder / made.path) if isinstance(made, Artifact) else made

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def _made(self, name: str) -> Any:
        step, _, output = name.rpartition(".")
        made = self.record.steps.get(step)
        if made and output in made.outputs:
            return made.outputs[output]
        if made and output in made.results:
            return made.results[output]
        raise UsageError(f"run {self.id} made no '{name}'", suggestion(name, self.keys()))

    def _ipython_key_completions_(self) -> list[str]:
        return self.keys()

    def __repr__(self) -> str:
        told = formatting.outcome(self.record)
        lines = [f"Run {self.id} of {self.pipeline}, {formatting.seconds_text(self.seconds)}: {told.title}"]
        return "\n".join([*lines, *(f"  {reason}" for reason in told.reasons)])

    def _repr_html_(self) -> str:
        return cards.run_card(self.record, self.folder)
