"""What the functions return beside a run: each shows itself in a cell, and is plain data in a script."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nbship.graph import Graph
from nbship.jupyter import cards
from nbship.workflow.compile import Generated
from nbship.workflow.open_step import OpenedStep
from nbship.workflow.show import PipelineView, view

if TYPE_CHECKING:
    import pandas as pd

    from nbship.pages.sweep_page import SweepRecord
    from nbship.splitting.plan import SplitPlan


class Pipeline:
    """A pipeline as it is wired; shows its graph and what its steps take and give.

    Args:
        graph: Pipeline file and notebooks, joined.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    @property
    def view(self) -> PipelineView:
        """Steps, signatures and wiring as data."""
        return view(self.graph)

    def __repr__(self) -> str:
        return f"Pipeline {self.graph.name}: {', '.join(self.graph.steps)}"

    def _repr_html_(self) -> str:
        return cards.pipeline_card(self.graph)


class Sweep:
    """A sweep: its combinations as a table, the best first.

    Args:
        record: What is written of it.
        folder: Where its files are.
    """

    def __init__(self, record: SweepRecord, folder: Path) -> None:
        self.record = record
        self.folder = folder

    @property
    def best(self) -> dict[str, Any]:
        """The parameters of the best combination, by `step.parameter`; none if nothing was measured."""
        return dict(self.record.best.parameters) if self.record.best else {}

    @property
    def table(self) -> pd.DataFrame:
        """A row for each combination: its parameters, the metric, its standard deviation, seconds, state."""
        import pandas as pd

        trials = self.record.trials
        rows = [
            {**t.parameters, self.record.metric: t.value, "spread": t.spread, "seconds": t.seconds}
            | {"state": str(t.state)}
            for t in trials
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        best = self.record.best
        told = f"; best {best.value:.4g} with {best.parameters}" if best and best.value is not None else ""
        return f"Sweep of {self.record.pipeline} by {self.record.metric}{told}"

    def _repr_html_(self) -> str:
        return cards.sweep_card(self.record, self.folder)


class Compiled:
    """A compiled pipeline: what Kubeflow sees of it.

    Args:
        generated: The file, and how it differs from the one that is there.
        written: Whether that was renewed.
    """

    def __init__(self, generated: Generated, written: bool) -> None:
        self.path = generated.path
        self.text = generated.text
        self.stale = generated.stale
        self.written = written

    @property
    def state(self) -> str:
        """Whether the file that is there is current, and how it differs if it is not."""
        if not self.stale:
            return "current"
        return f"{'was' if self.written else 'is'} not current ({'; '.join(self.stale)})"

    def __repr__(self) -> str:
        return f"{os.path.relpath(self.path)}: {len(self.text.encode()) / 1024:.0f} KiB, {self.state}"

    def _repr_html_(self) -> str:
        import yaml

        spec = next(yaml.safe_load_all(self.text))
        return cards.compiled_card(
            {
                "title": repr(self),
                "components": list(_components(spec)),
                "parameters": list(_parameters(spec)),
            }
        )


def _components(spec: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """What runs in a container; a group of steps is none."""
    for name, component in spec["components"].items():
        if "executorLabel" not in component:
            continue
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        limits = container.get("resources", {})
        artifacts = {
            way: ", ".join(component.get(f"{way}Definitions", {}).get("artifacts", {}))
            for way in ("input", "output")
        }
        yield {
            "name": name.removeprefix("comp-"),
            "image": container["image"],
            "cpu": limits.get("resourceCpuLimit", ""),
            "memory": limits.get("resourceMemoryLimit", ""),
            "takes": artifacts["input"],
            "gives": artifacts["output"],
        }


def _parameters(spec: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for name, parameter in spec["root"].get("inputDefinitions", {}).get("parameters", {}).items():
        default = parameter.get("defaultValue")
        if parameter["parameterType"] == "NUMBER_INTEGER" and default is not None:
            default = int(default)  # KFP writes every number as a float
        yield {
            "name": name,
            "type": parameter["parameterType"].removeprefix("NUMBER_").lower(),
            "default": repr(default),
            "meaning": parameter.get("description", ""),
        }


@dataclass(frozen=True)
class Split:
    """How a notebook is split: the plan, and what was written.

    Attributes:
        plan: Steps, and what crosses each cut.
        written: The files, from the project's folder; none where only the plan was asked for.
        picture: The graph as SVG.
    """

    plan: SplitPlan
    written: tuple[str, ...]
    picture: str

    def __repr__(self) -> str:
        done = f"; wrote {', '.join(self.written)}" if self.written else ""
        return f"{self.plan.notebook} as {self.plan.name}: {', '.join(s.name for s in self.plan.steps)}{done}"

    def _repr_html_(self) -> str:
        return cards.split_card(self.plan, self.written, self.picture)


class Opened:
    """A step's notebook with what it reads in place; shows itself as a link to the notebook.

    Args:
        opened: What was put in place.
    """

    def __init__(self, opened: OpenedStep) -> None:
        self.notebook = opened.notebook
        self.filled = opened.filled
        self.there = opened.there
        self.run = opened.run
        self.parameters = dict(opened.parameters)

    def __repr__(self) -> str:
        told = f"{os.path.relpath(self.notebook)}: {len(self.filled)} files filled from run {self.run}"
        return f"{told}, {len(self.there)} were there"

    def _repr_html_(self) -> str:
        return cards.opened_card(self, quote(Path(os.path.relpath(self.notebook)).as_posix()))
