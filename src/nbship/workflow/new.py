"""Begins a pipeline: notebooks and a pipeline file for a table, which run, compile and serve as they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbship import files
from nbship.config import NAME_PATTERN
from nbship.errors import UsageError, suggestion
from nbship.project import PIPELINES
from nbship.templates.example import example_csv
from nbship.templates.leaks import find_leaks
from nbship.templates.notes import notes, warnings
from nbship.templates.reading import how_to_read
from nbship.templates.render import TemplatePlan, render, shared_texts
from nbship.templates.splits import SplitWish, find_split
from nbship.templates.table import ColumnKind, Table, are_numbers, read_table
from nbship.versions import dvc, git

if TYPE_CHECKING:
    import pandas as pd

TASKS = ("regression", "classification")
_LONGEST_NAME = 50
_FEWEST_ROWS = 20
_MOST_CLASSES = 10
# From so many rows with equal inputs on, a share of all, they must stay together to judge a model.
_REPEATED = 0.02


@dataclass(frozen=True)
class Begun:
    """A pipeline that was begun.

    Attributes:
        written: The new files, from the project's folder.
        task: `regression` or `classification`.
        notes: What was decided about the table, a line each.
    """

    written: tuple[str, ...]
    task: str
    notes: tuple[str, ...]


def begin(
    root: Path,
    name: str,
    data: Path | None = None,
    target: str = "",
    task: str = "",
    wish: SplitWish | None = None,
) -> Begun:
    """Writes a new pipeline; all of it, or nothing.

    Args:
        root: The project's folder.
        name: The pipeline.
        data: The user's table; a small made-up one if not given.
        target: Its column to predict.
        task: `regression` or `classification`; guessed from the target if empty.
        wish: Which columns hold time and groups, as far as the user says so.

    Raises:
        UsageError: The name is taken or no name, or the table or the target cannot be used.
        NbshipError: Something cannot be written.
    """
    reading = how_to_read(data) if data else None
    path = Path("data", f"{name}{reading.suffix if reading else '.csv'}")
    _check(root, name, path, data, target, task)
    with all_or_nothing() as new:
        if data is None:
            files.write_text(new(root / path), example_csv(task or TASKS[0]))
        table = read_table(data or root / path)
        plan, said = _plan(name, path.as_posix(), data, table, target, task, wish or SplitWish())
        texts = render(plan)
        shared = {p: text for p, text in shared_texts(plan.task).items() if not (root / p).exists()}
        texts = {**shared, **texts}
        if data is not None and data.resolve() != (root / path).resolve():
            files.copy(data, new(root / path))
        track(root, root / path, new)
        for relative, content in texts.items():  # the pipeline file last: with it, the pipeline is there
            files.write_text(new(root / relative), content)
    return Begun((path.as_posix(), f"{path.as_posix()}.dvc", *texts), plan.task, tuple(said))


def _check(root: Path, name: str, path: Path, data: Path | None, target: str, task: str) -> None:
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > _LONGEST_NAME:
        raise UsageError(
            f"'{name}' is not a name for a pipeline",
            f"use lower-case letters, digits and single hyphens, {_LONGEST_NAME} at most: flat-rents",
        )
    if task and task not in TASKS:
        raise UsageError(f"--task {task}: there is no such task", suggestion(task, TASKS))
    if bool(data) != bool(target):
        raise UsageError(
            "--data and --target go together", f"nbship new {name} --data FILE.csv --target COLUMN"
        )
    own = data is not None and data.resolve() == (root / path).resolve()
    for taken in (f"{PIPELINES}/{name}.yaml", f"notebooks/{name}", *(() if own else (path.as_posix(),))):
        if (root / taken).exists():
            raise UsageError(f"{taken} already exists", "choose another name, or remove it")


@contextmanager
def all_or_nothing() -> Iterator[Callable[[Path], Path]]:
    """Yields what to call with each path before it is made; if anything fails, all of them are removed."""
    made: list[Path] = []

    def new(path: Path) -> Path:
        made.extend(folder for folder in reversed(path.parents) if not folder.exists())
        if not path.exists():
            made.append(path)
        return path

    try:
        yield new
    except BaseException:
        for path in reversed(made):
            files.remove(path)
        raise


def track(root: Path, path: Path, new: Callable[[Path], Path]) -> None:
    """Does what `dvc add` does: a copy in DVC's cache, the `.dvc` file, and Git told to ignore the file."""
    tracked = dvc.store(root, path)
    files.write_text(new(dvc.tracking_file(path)), dvc.tracking_text(path, tracked))
    if git.in_repository(root) and not git.succeeds(root, "check-ignore", "--quiet", str(path)):
        ignored = path.with_name(".gitignore")
        before = ignored.read_text(encoding="utf-8") if ignored.exists() else ""
        files.write_text(new(ignored), f"{before}/{path.name}\n")


def _plan(
    name: str, path: str, data: Path | None, table: Table, target: str, task: str, wish: SplitWish
) -> tuple[TemplatePlan, list[str]]:
    target = target or str(table.sample.columns[-1])
    if target not in table.columns:
        hint = suggestion(target, table.columns)
        if any(map(_is_number, table.columns)):
            hint = f"the first line must name the columns, and is: {', '.join(table.columns)}"
        raise UsageError(f"{data}: there is no column '{target}'", hint)
    task = task or guess_task(table.sample[target])
    known = _known(table.sample[target], task)
    _check_target(known, target, task, len(table.sample))
    split = find_split(table, target, wish)
    inputs = {column: kind for column, kind in table.columns.items() if column != target}
    leaks = find_leaks(
        table.sample.loc[known.index].assign(**{target: known}),
        target,
        task,
        [column for column, kind in inputs.items() if kind in _TAKEN and column != split.group],
        [column for column, kind in inputs.items() if kind is ColumnKind.IDENTIFIER],
    )
    unused = {why: [c for c, kind in inputs.items() if kind is which] for which, why in _LEFT_OUT.items()}
    unused = {
        why: [c for c in columns if c not in (split.time, split.group)] for why, columns in unused.items()
    }
    left_out = [*leaks.copies, *(column for columns in unused.values() for column in columns)]
    if not {*inputs} - {*left_out, split.group}:
        raise UsageError(
            f"{path}: no column to predict '{target}' from: the others are identifiers or constants",
            "give a table with columns that say something about each row",
        )
    taken = {column: kind for column, kind in inputs.items() if column not in (*left_out, split.group)}
    of_kind = {kind: [c for c, found in taken.items() if found is kind] for kind in ColumnKind}
    of_time = table.dates.get(split.time)
    plan = TemplatePlan(
        name=name,
        task=task,
        path=path,
        about=f"copied from {data.name}" if data else "made-up flats to let, to begin with",
        target=target,
        reading=table.reading,
        unused=left_out,
        amounts={column: each.decimal for column, each in table.amounts.items()},
        dates={column: table.dates[column] for column in of_kind[ColumnKind.DATE]},
        texts=of_kind[ColumnKind.TEXT],
        split=split,
        moments=of_time,
        repeated=not (split.alike or split.group or split.time) and _are_repeated(table.sample[[*taken]]),
        leaf=max(2, min(20, len(known) // 40)),
        warnings=warnings(table, target, task, leaks),
        evaluate={"unit": target, "groups": of_kind[ColumnKind.NUMBER][:2]} if task == "regression" else {},
    )
    said = notes(table, target, task, split, unused, len(table.sample) - len(known))
    return plan, said + [warning.replace("`", "'") for warning in plan.warnings]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_TAKEN = (ColumnKind.NUMBER, ColumnKind.WORDS, ColumnKind.DATE, ColumnKind.TEXT)
_LEFT_OUT = {
    ColumnKind.IDENTIFIER: "different in each row",
    ColumnKind.CONSTANT: "always the same",
    ColumnKind.NESTED: "lists or objects",
}


def _are_repeated(inputs: pd.DataFrame) -> bool:
    return bool(inputs.duplicated().mean() > _REPEATED)


def guess_task(values: pd.Series[Any]) -> str:
    """Guesses the task from the target: many different numbers are a quantity, all else are classes."""
    import pandas as pd
    from pandas.api import types

    if types.is_bool_dtype(values) or not are_numbers(values):
        return "classification"
    numbers = pd.to_numeric(values, errors="coerce").dropna()
    fractions = bool((numbers % 1 != 0).any())
    return "regression" if numbers.nunique() > (2 if fractions else _MOST_CLASSES) else "classification"


def _known(values: pd.Series[Any], task: str) -> pd.Series[Any]:
    """The targets that a model can learn from."""
    import numpy as np
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce") if task == "regression" else values
    return numbers.replace([np.inf, -np.inf], np.nan).dropna()


def _check_target(known: pd.Series[Any], target: str, task: str, rows: int) -> None:
    if len(known) < _FEWEST_ROWS:
        raise UsageError(
            f"only {len(known)} of {rows} rows have {'a number' if task == 'regression' else 'a value'} "
            f"in '{target}'",
            f"a model needs {_FEWEST_ROWS} at the very least",
        )
    different = known.nunique()
    if different == 1:
        raise UsageError(
            f"'{target}' is always {known.iloc[0]}", "there is nothing to predict: choose another"
        )
    if task == "classification" and different > len(known) / 2:
        raise UsageError(
            f"'{target}' has {different} different values in {len(known)} rows: these are not classes",
            "choose another column, or --task regression if they are numbers",
        )
