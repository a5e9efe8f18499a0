"""`python -m benchmarks.skill`: how much a pipeline from `nbship new` knows of eight public tables.

Skill is 1 - loss / loss of the trivial predictor, in an outer cross-validation of five folds: the written
train notebook, untouched, learns from four fifths of the rows, all that it chooses included, and predicts the
rest. The loss is the squared error, or the log-loss; the trivial predictor always says the mean, or how
frequent each class is.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from rich.console import Console
from rich.markdown import Markdown
from sklearn.model_selection import GroupKFold, StratifiedKFold, TimeSeriesSplit

from benchmarks.workspace import CommandError, Workspace, program, workspace
from nbship.notebook import read_notebook
from nbship.workflow.new import begin

BEGIN = "<!-- skill: written by python -m benchmarks.skill -->"
END = "<!-- end of skill -->"
README = Path(__file__).with_name("README.md")
_PACKAGES = {"palmerpenguins": "0.1.6", "statsmodels": "0.15.0", "vega_datasets": "0.9.0"}
_FOLDS = 5


@dataclass(frozen=True)
class Table:
    """A public table.

    Attributes:
        name: Of the file.
        package: Where it is from.
        target: The column to predict.
        task: What kind of target it is.
        by: How its rows are judged: `time COLUMN`, `group COLUMN`, or as they come.
    """

    name: str
    package: str
    target: str
    task: str
    by: str = ""


TABLES = (
    Table("diabetes", "scikit-learn", "target", "regression"),
    Table("breast-cancer", "scikit-learn", "target", "classification"),
    Table("cars", "vega_datasets", "Miles_per_Gallon", "regression"),
    Table("airports", "vega_datasets", "longitude", "regression"),
    Table("weather", "vega_datasets", "weather", "classification", "time date"),
    Table("penguins", "palmerpenguins", "Body Mass (g)", "regression", "group Individual ID"),
    Table("doctor-visits", "statsmodels", "mdvis", "regression"),
    Table("election", "statsmodels", "vote", "classification"),
)


@dataclass(frozen=True)
class Score:
    """How a table went.

    Attributes:
        table: Which.
        rows: How many it has.
        skill: Over all folds.
    """

    table: Table
    rows: int
    skill: float


def main() -> None:
    """Measures, prints, and writes the table of README.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.skill", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="write no file")
    dry = parser.parse_args().dry
    with workspace() as space:
        _export(space)
        scores = []
        for table in TABLES:
            scores.append(measure(space, table))
            print(f"{table.name}: {scores[-1].skill:.3f}", file=sys.stderr)
    text = markdown(scores)
    Console().print(Markdown(text))
    if not dry:
        head, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
        README.write_text(f"{head}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def markdown(scores: list[Score]) -> str:
    """Returns the results as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in _PACKAGES.items())
    lines = [
        f"Measured on {datetime.now(UTC):%d %B %Y} on one core; {versions}.\n",
        "| table | package | target | rows | judged | skill |",
        "|---|---|---|--:|---|--:|",
    ]
    for score in scores:
        table = score.table
        by = table.by.replace("time ", "forward by ").replace("group ", "new ") or "five folds"
        lines.append(
            f"| {table.name} | {table.package} | {table.target}, {table.task} | {score.rows:,} | {by} | "
            f"{score.skill:.3f} |"
        )
    lines.append(f"| **mean** | | | | | **{np.mean([score.skill for score in scores]):.3f}** |")
    return "\n".join(lines) + "\n"


def measure(space: Workspace, table: Table) -> Score:
    """Begins a pipeline for a table and lets its train notebook learn and predict."""
    root = _project(space, table)
    begin(root, table.name, space.folder / f"{table.name}.csv", table.target, table.task)
    folder = root / "notebooks" / table.name
    _run(folder / "prepare.ipynb")
    sets = [pd.read_csv(folder / f"build/{name}.csv", low_memory=False) for name in ("train_set", "test_set")]
    rows = pd.concat(sets, ignore_index=True)
    lost = trivial = 0.0
    for learn, judge in _parts(rows, table):
        rows.iloc[learn].to_csv(folder / "build/train_set.csv", index=False)
        _run(folder / "train.ipynb")
        model = joblib.load(folder / "build/model.joblib")
        losses = _losses(model, rows, learn, judge, table)
        lost, trivial = lost + losses[0], trivial + losses[1]
    return Score(table, len(rows), 1 - lost / trivial)


def _losses(
    model: Any, rows: pd.DataFrame, learn: np.ndarray, judge: np.ndarray, table: Table
) -> tuple[float, float]:
    """Returns the sum of losses of a model and of the trivial predictor."""
    inputs, truth = rows[model.feature_names_in_].iloc[judge], rows[table.target]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if table.task == "regression":
            errors = truth.iloc[judge] - model.predict(inputs)
            return float((errors**2).sum()), float(
                ((truth.iloc[judge] - truth.iloc[learn].mean()) ** 2).sum()
            )
        said = pd.DataFrame(model.predict_proba(inputs), columns=model.classes_)
    said = said.reindex(columns=truth.unique(), fill_value=0)
    frequent = truth.iloc[learn].value_counts(normalize=True).reindex(said.columns, fill_value=0)
    is_class = truth.iloc[judge].to_numpy()[:, np.newaxis] == said.columns.to_numpy()
    usual = np.broadcast_to(frequent.to_numpy(), is_class.shape)
    return tuple(float(-np.log(p[is_class].clip(1e-6)).sum()) for p in (said.to_numpy(), usual))


def _parts(rows: pd.DataFrame, table: Table) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    way, _, column = table.by.partition(" ")
    if way == "time":
        order = np.argsort(rows[column].to_numpy(), kind="stable")
        return ((order[learn], order[judge]) for learn, judge in TimeSeriesSplit(_FOLDS).split(order))
    if way == "group":
        return GroupKFold(_FOLDS, shuffle=True, random_state=1).split(rows, groups=rows[column])
    if table.task == "classification":
        return StratifiedKFold(_FOLDS, shuffle=True, random_state=1).split(rows, rows[table.target])
    # Rows with equal inputs stay together: knowing one is knowing the other.
    inputs = rows.drop(columns=table.target)
    alike = inputs.groupby([*inputs], dropna=False).ngroup()
    return GroupKFold(_FOLDS, shuffle=True, random_state=1).split(rows, groups=alike)


def _project(space: Workspace, table: Table) -> Path:
    root = space.folder / f"project-{table.name}"
    (root / "pipelines").mkdir(parents=True)
    space.seconds([program("dvc"), "init", "--no-scm"], root)
    return root


def _run(path: Path) -> None:
    """Runs the code of a notebook as it is, beside it, and draws nothing."""
    notebook = read_notebook(path)
    names: dict[str, Any] = {}
    with contextlib.chdir(path.parent), warnings.catch_warnings(), open(os.devnull, "w") as silence:  # noqa: PTH123
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(silence):
            for source in (notebook.parameters_source, *notebook.code):
                exec(compile(source, str(path), "exec"), names)  # noqa: S102 (it is what is measured)


def _export(space: Workspace) -> None:
    """Writes the tables, in an environment of its own that sees the libraries of this one."""
    environment = space.folder / "tables"
    space.seconds([sys.executable, "-m", "venv", str(environment)], space.folder)
    (packages,) = environment.glob("lib/python*/site-packages")
    path = sysconfig.get_path("purelib")
    (packages / "libraries.pth").write_text(f"import site; site.addsitedir({path!r})\n", encoding="utf-8")
    python = str(environment / "bin/python")
    requirements = [f"{name}=={version}" for name, version in _PACKAGES.items()]
    # With the person's own settings, which may say how pip reaches its packages.
    pip = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *requirements],
        capture_output=True,
        text=True,
        check=False,
    )
    if pip.returncode != 0:
        raise CommandError(f"pip could not install the tables: {pip.stderr.strip().splitlines()[-1]}")
    space.seconds([python, str(Path(__file__).parent / "peers/tables.py"), str(space.folder)], space.folder)


if __name__ == "__main__":
    # One core, whatever the machine has: set before the libraries start their threads.
    if os.environ.get("OMP_NUM_THREADS") != "1":
        one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **one})  # noqa: S606
    main()
