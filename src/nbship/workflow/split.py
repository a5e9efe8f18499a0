"""Splits a notebook into a pipeline: runs it once, proposes a plan, writes it, and compares the results."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nbship import files
from nbship.config import load_pipeline
from nbship.errors import NbshipError, UsageError
from nbship.graph import Graph, read_graph
from nbship.kernels import provisioner
from nbship.linting.cells import Source, read_source
from nbship.local.execute import StepError, execute
from nbship.local.runner import WARM_KERNEL
from nbship.notebook import Notebook, Signature
from nbship.project import LONGEST_NAME, NAME_PATTERN, PIPELINES
from nbship.record import RunRecord
from nbship.splitting import inspector
from nbship.splitting.flow import Facts
from nbship.splitting.kinds import Fact
from nbship.splitting.plan import SplitPlan
from nbship.splitting.proposal import Read, propose, read
from nbship.splitting.sections import step_name
from nbship.splitting.wishes import Wishes, read_wishes
from nbship.splitting.writing import write
from nbship.templates.render import shared_texts
from nbship.versions import dvc
from nbship.workflow.new import all_or_nothing, track
from nbship.workflow.run import RunRequest, run

_PARQUET = re.compile(r"^(pyarrow|fastparquet)\b", re.MULTILINE)
_CELL = re.compile(r"(.*), cell (\d+): (.*)", re.DOTALL)
# Another place, or the same number in another wrapping: 0x7f…, build/train/model.pkl, np.float64(0.5).
_ELSEWHERE = re.compile(r"0x[0-9a-fA-F]+|(?:[\w.~-]*/)+(?=[\w.-])|np\.(?:float|int|str|bool)\w*\(([^()]*)\)")


@dataclass(frozen=True)
class Proposal:
    """A plan, and what it was made from.

    Attributes:
        plan: The plan.
        notebook: The notebook as it was read.
        data: Path from the project's folder of each data file, by variable.
        copied: Data files from outside of the project that are to be copied into it, by that path.
        outputs: What each cell showed when the notebook ran, by its id; empty if it did not.
    """

    plan: SplitPlan
    notebook: Read
    data: Mapping[str, str]
    copied: Mapping[str, Path]
    outputs: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Observed:
    """What running a notebook once told.

    Attributes:
        facts: What the variables are that each cell made or changed, by its number.
        outputs: What each cell showed, by its id.
        opened: The project's files that each cell opened, and whether to write them, by its number.
    """

    facts: Facts
    outputs: Mapping[str, list[str]]
    opened: Mapping[int, Mapping[str, bool]]


@dataclass(frozen=True)
class OutputDifference:
    """A cell that shows something else in the pipeline.

    Attributes:
        step: The step.
        cell: The number of the cell in the notebook.
        before: What it showed in the notebook.
        after: What it shows in the pipeline.
    """

    step: str
    cell: int
    before: str
    after: str


@dataclass(frozen=True)
class Checked:
    """How the pipeline's run compares with the notebook's.

    Attributes:
        same: How many cells show the same.
        differences: Those that do not.
        random: Numbers of cells that show something else each time the notebook itself runs.
        record: The pipeline's run.
    """

    same: int
    differences: tuple[OutputDifference, ...]
    random: tuple[int, ...]
    record: RunRecord


def proposal(
    root: Path, path: Path, name: str = "", plan_file: Path | None = None, run_first: bool = True
) -> Proposal:
    """Returns how a notebook would be split; writes nothing but what the notebook itself writes.

    Args:
        root: The project's folder.
        path: The notebook.
        name: The pipeline; from the notebook's name if empty.
        plan_file: YAML of what a person wants otherwise.
        run_first: Whether to run the notebook once, which tells what its variables are.

    Raises:
        UsageError: The notebook, the name or the plan cannot be understood.
        NbshipError: The notebook fails; says in which cell.
    """
    path = path.absolute()
    shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    source = read_source(path, shown)
    name = name or step_name(path.stem.replace("_", " "))
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > LONGEST_NAME:
        raise UsageError(f"'{name}' is not a name for a pipeline", "give one: --name flat-rents")
    wishes = Wishes()
    if plan_file is not None:
        try:
            wishes = read_wishes(plan_file.read_text(encoding="utf-8"), str(plan_file))
        except OSError as error:
            raise UsageError(
                f"{plan_file}: {error.strerror}", "nbship split … --plan --format yaml"
            ) from None
    notebook = read(source, wishes, lambda relative: (path.parent / relative).exists())
    seen = observe(root, notebook) if run_first else Observed({}, {}, {})
    plan = propose(notebook, name, wishes, seen.facts, _reads_parquet(root), seen.opened)
    data, copied = _data(root, path.parent, plan)
    return Proposal(plan, notebook, data, copied, seen.outputs)


def _reads_parquet(root: Path) -> bool:
    with suppress(OSError):
        return bool(_PARQUET.search((root / "requirements.lock").read_text(encoding="utf-8")))
    return False


def observe(root: Path, notebook: Read) -> Observed:
    """Runs a notebook once, in its folder as Jupyter does, and tells what each cell made and showed.

    Args:
        root: The project's folder.
        notebook: As it was read.

    Raises:
        StepError: A cell failed.
    """
    import nbformat

    source = notebook.source
    cells = [c for c in source.code if c.number not in notebook.cuts.skipped and c.source.strip()]
    with TemporaryDirectory(prefix="nbship-") as temporary:
        notes, copy, executed = (Path(temporary, n) for n in ("notes", source.path.name, "executed.ipynb"))
        setup = f"{Path(inspector.__file__).read_text(encoding='utf-8')}\n_nbship_inspect({str(notes)!r})"
        node = nbformat.v4.new_notebook(
            metadata={"kernelspec": {"name": "python3", "display_name": "Python"}}
        )
        node.cells = [nbformat.v4.new_code_cell(setup, id="inspector")]
        for cell in cells:
            node.cells.append(nbformat.v4.new_code_cell(cell.source, id=f"cell-{cell.number}"))
            node.cells[-1].metadata["tags"] = [t for t in cell.tags if t == "raises-exception"]
        nbformat.write(node, copy)
        given = Notebook(copy, "", "", Signature(()), tuple(c.source for c in cells), setup)
        try:
            execute(given, {}, executed, kernel=WARM_KERNEL, folder=source.path.parent, project=root)
        except StepError as error:
            raise _located(error, source, [cell.number for cell in cells]) from None
        finally:
            provisioner.stop()
        lines = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
        after = nbformat.read(executed, as_version=4).cells
    seen = dict(zip((cell.number for cell in cells), lines[1:], strict=False))
    shown = {cell.id: _shown(cell) for cell in after}
    return Observed(
        facts={n: {name: Fact(**fact) for name, fact in line["names"].items()} for n, line in seen.items()},
        outputs={identifier(c): shown.get(f"cell-{c.number}", []) for c in cells},
        opened={n: dict(_own_files(root, source.path.parent, line["opened"])) for n, line in seen.items()},
    )


def _own_files(root: Path, folder: Path, opened: Mapping[str, bool]) -> Iterator[tuple[str, bool]]:
    """The project's files among those that were opened, as the notebook sees them; code is none of them."""
    for name, written in opened.items():
        path = Path(name)
        if not path.is_relative_to(root) or path.suffix in (".py", ".pyc", ".ipynb", ".so"):
            continue
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.is_file() and not hidden:
            yield os.path.relpath(path, folder), written


def identifier(cell: Any) -> str:
    """Returns the id that a cell has in the step that it goes to."""
    return str(cell.content.get("id") or f"cell-{cell.number}")


def _located(error: StepError, source: Source, numbers: list[int]) -> NbshipError:
    """The same error, with the cell's number in the notebook itself."""
    match = _CELL.fullmatch(error.message)
    place = int(match[2]) - 2 if match else -1
    message = error.message
    if match and 0 <= place < len(numbers):
        message = f"{source.name}, cell {numbers[place]}: {match[3]}"
    hint = "it must run from top to bottom: correct the cell or tag it 'skip'; or do not run it: --no-run"
    return NbshipError(message, hint, error.details)


def _shown(cell: Any) -> list[str]:
    """What a cell showed, as far as it can be compared: texts as they are, pictures by their content."""
    shown: list[str] = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            if output.name == "stdout":
                shown.append(_ELSEWHERE.sub(lambda match: match[1] or "", output.text))
        elif output.output_type in ("execute_result", "display_data"):
            text = output.data.get("text/plain", "")
            shown.append(_ELSEWHERE.sub(lambda match: match[1] or "", text))
            if "image/png" in output.data:
                shown.append(f"picture {hashlib.sha256(output.data['image/png'].encode()).hexdigest()[:12]}")
    joined: list[str] = []
    for text in shown:  # how a stream is cut into outputs is up to the moment
        if joined and not text.startswith("picture ") and not joined[-1].startswith("picture "):
            joined[-1] += text
        else:
            joined.append(text)
    return joined


def _data(root: Path, folder: Path, plan: SplitPlan) -> tuple[dict[str, str], dict[str, Path]]:
    """Where the files are that no step writes; those outside of the project are to be copied to data/."""
    data: dict[str, str] = {}
    copied: dict[str, Path] = {}
    for file in plan.files:
        if file.writers:
            continue
        place = Path(os.path.normpath(folder / Path(file.path).expanduser()))
        if place.is_relative_to(root):
            data[file.variable] = place.relative_to(root).as_posix()
        else:
            data[file.variable] = f"data/{place.name}"
            if place.is_file():
                copied[data[file.variable]] = place
    return data, copied


@contextmanager
def graph_of(root: Path, proposed: Proposal) -> Iterator[Graph]:
    """Yields the graph of a plan that is not written, from a temporary folder.

    Raises:
        UsageError: The steps do not fit together, such as when they go in a circle.
    """
    with TemporaryDirectory(prefix="nbship-") as temporary:
        place = Path(temporary)
        (place / PIPELINES).mkdir()
        for relative, text in _texts(root, proposed).items():
            files.write_text(place / relative, text)
        yield read_graph(place, load_pipeline(place, proposed.plan.name))


def _texts(root: Path, proposed: Proposal) -> dict[str, str]:
    """What is written; of the notebooks that judge, those that the project has not."""
    texts = write(proposed.plan, proposed.notebook, proposed.data)
    gate = proposed.plan.gate
    if gate is None:
        return texts
    name = f"notebooks/shared/evaluate-{gate.task}.ipynb"
    own = root / name
    judge = own.read_text(encoding="utf-8") if own.exists() else shared_texts(gate.task)[name]
    return {name: judge, **texts}


def split(root: Path, proposed: Proposal, force: bool = False) -> tuple[str, ...]:
    """Writes the pipeline of a plan; all of it, or nothing. The notebook itself is only read.

    Args:
        root: The project's folder.
        proposed: The plan.
        force: Whether files that are there may be overwritten.

    Returns:
        The files that were written, from the project's folder.

    Raises:
        UsageError: The plan has problems, or a file already exists.
        NbshipError: Something cannot be written.
    """
    plan = proposed.plan
    if plan.problems:
        first, *others = plan.problems
        details = "\n".join(f"cell {p.cell}: {p.message}" for p in others)
        raise UsageError(f"{plan.notebook}, cell {first.cell}: {first.message}", first.hint, details)
    with graph_of(root, proposed):
        pass
    texts = {path: text for path, text in _texts(root, proposed).items() if not _is_shared(root, path)}
    for path in (*texts, *proposed.copied):
        if (root / path).absolute() == proposed.notebook.source.path:
            raise UsageError(f"{path}: is the notebook itself", "give the pipeline another name: --name NAME")
        if (root / path).exists() and not force:
            raise UsageError(f"{path} already exists", "choose another name, or overwrite it: --force")
    missing = [p for p in proposed.data.values() if p not in proposed.copied and not _is_there(root / p)]
    if missing:
        raise UsageError(
            f"{missing[0]}: is read, and is not there", "put the file there, or correct its path"
        )
    with all_or_nothing() as new:
        for path, place in proposed.copied.items():
            files.copy(place, new(root / path))
        for path in dict.fromkeys(proposed.data.values()):
            if (root / path).is_file() and dvc.read(root / path) is None:
                track(root, root / path, new)
        for path, text in texts.items():
            files.write_text(new(root / path), text)
    return (*proposed.copied, *texts)


def _is_shared(root: Path, path: str) -> bool:
    return path.startswith("notebooks/shared/") and (root / path).exists()


def _is_there(path: Path) -> bool:
    return path.exists() or dvc.tracking_file(path).exists()


def check(root: Path, proposed: Proposal) -> Checked:
    """Runs the pipeline, and compares what its cells show with what they showed in the notebook.

    Where something differs the notebook is run once more, for a cell that shows something else each time
    cannot be compared.

    Raises:
        NbshipError: A step failed.
    """
    plan, notebook = proposed.plan, proposed.notebook
    outputs = proposed.outputs or observe(root, notebook).outputs
    record, folder = run(root, RunRequest(plan.name))
    numbers = {identifier(cell): cell.number for cell in notebook.source.code}
    same, differences = 0, list[OutputDifference]()
    for step in plan.steps:
        for name, after in _of_step(folder, record, step.name).items():
            before = outputs.get(name)
            if before == after:
                same += 1
            elif before is not None:
                differences.append(
                    OutputDifference(step.name, numbers[name], "\n".join(before), "\n".join(after))
                )
    random: tuple[int, ...] = ()
    if differences:
        again = observe(root, notebook).outputs
        random = tuple(numbers[name] for name, shown in again.items() if shown != outputs[name])
    told = tuple(d for d in differences if d.cell not in random)
    return Checked(same, told, random, record)


def _of_step(folder: Path, record: RunRecord, step: str) -> dict[str, list[str]]:
    import nbformat

    executed = folder / record.steps[step].notebook
    return {
        cell.id: _shown(cell)
        for cell in nbformat.read(executed, as_version=4).cells
        if cell.cell_type == "code"
    }
